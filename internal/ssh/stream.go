package ssh

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// stream is a connection to a socket through a channel of x/crypto/ssh, which knows no
// deadlines, and whose Close does not wake who reads while the machine is silent. It does both
// by leaving what is blocked behind: that ends with the channel, or with the connection below.
type stream struct {
	net.Conn // the channel's
	alive    func() bool
	left     func()

	closed                      chan struct{}
	once                        sync.Once
	readDeadline, writeDeadline deadline

	reading sync.Mutex    // one reader at a time
	buffer  []byte        // what a read gets into
	rest    []byte        // of the buffer: what was read and not taken yet
	open    chan transfer // of a read under way; nil: none is
	readErr error         // after the rest

	writing  sync.Mutex // one writer at a time
	writeErr error      // once a write was given up: half of it may be under way
}

// transfer is what came of one read or write.
type transfer struct {
	n   int
	err error
}

// readBuffer is as much as a packet of SSH has.
const readBuffer = 32 << 10

// newStream makes one. alive tells whether the connection below answers; left is called once,
// when the stream is closed.
func newStream(conn net.Conn, alive func() bool, left func()) *stream {
	return &stream{Conn: conn, alive: alive, left: left, closed: make(chan struct{}), buffer: make([]byte, readBuffer)}
}

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if err := s.stopped(&s.readDeadline); err != nil {
		return 0, err
	}
	if len(s.rest) == 0 && s.readErr == nil {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	if len(s.rest) > 0 {
		n := copy(p, s.rest)
		s.rest = s.rest[n:]
		return n, nil
	}
	return 0, s.readErr
}

// fill waits for the read under way, or for one that it begins.
func (s *stream) fill() error {
	if s.open == nil {
		done := make(chan transfer, 1)
		go func() {
			n, err := s.Conn.Read(s.buffer)
			if err == io.EOF && !s.alive() { //nolint:errorlint // x/crypto's own, bare
				err = io.ErrUnexpectedEOF // it is x/crypto's word for a connection that broke, too
			}
			done <- transfer{n, err}
		}()
		s.open = done
	}
	select {
	case r := <-s.open:
		s.open, s.rest, s.readErr = nil, s.buffer[:r.n], r.err
		return nil
	case <-s.closed:
		return net.ErrClosed
	case <-s.readDeadline.passed():
		return os.ErrDeadlineExceeded
	}
}

// Write implements net.Conn. After a write that was given up there can be no other.
func (s *stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	written := 0
	for written < len(p) {
		n, err := s.writePart(p[written:min(len(p), written+readBuffer)])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (s *stream) writePart(p []byte) (int, error) {
	if s.writeErr != nil {
		return 0, s.writeErr
	}
	if err := s.stopped(&s.writeDeadline); err != nil {
		return 0, err
	}
	own := append([]byte(nil), p...) // the caller has p back before a write that is given up ends
	done := make(chan transfer, 1)
	go func() {
		n, err := s.Conn.Write(own)
		done <- transfer{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-s.closed:
		s.writeErr = net.ErrClosed
	case <-s.writeDeadline.passed():
		s.writeErr = os.ErrDeadlineExceeded
	}
	return 0, s.writeErr
}

// stopped gives why nothing may be read or written any more; nil: it may.
func (s *stream) stopped(d *deadline) error {
	select {
	case <-s.closed:
		return net.ErrClosed
	case <-d.passed():
		return os.ErrDeadlineExceeded
	default:
		return nil
	}
}

// CloseWrite tells the other side that nothing more comes, as Docker's attached streams need.
func (s *stream) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return s.Close()
}

// Close implements net.Conn.
func (s *stream) Close() error {
	err := net.ErrClosed
	s.once.Do(func() {
		err = nil
		close(s.closed)
		if e := s.Conn.Close(); e != nil && e != io.EOF { //nolint:errorlint // x/crypto's own, bare: the other side was first
			err = e
		}
		s.left()
	})
	return err
}

// SetDeadline implements net.Conn.
func (s *stream) SetDeadline(t time.Time) error {
	s.readDeadline.set(t)
	s.writeDeadline.set(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (s *stream) SetReadDeadline(t time.Time) error {
	s.readDeadline.set(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (s *stream) SetWriteDeadline(t time.Time) error {
	s.writeDeadline.set(t)
	return nil
}
