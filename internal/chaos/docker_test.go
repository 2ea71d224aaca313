package chaos

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mode is what a dockerProxy does to a connection.
type mode int

const (
	pass   mode = iota
	refuse      // ends every connection at once
	hang        // takes them and says nothing
	lose        // lets requests through and ends the connection instead of answering
)

// dockerProxy stands between the workers and the Docker engine.
type dockerProxy struct {
	network, engine string // where it listens: "unix" or "tcp", and a path or an address
	l               net.Listener
	mu              sync.Mutex
	mode            mode
	open            map[net.Conn]bool
	all             sync.WaitGroup
	// watches is how many streams of events the engine was asked for.
	watches atomic.Int64
}

const dockerSocket = "unix:///var/run/docker.sock"

func newDockerProxy(t *testing.T, engine string) *dockerProxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	network, address, _ := strings.Cut(engine, "://")
	p := &dockerProxy{network: network, engine: address, l: l, open: map[net.Conn]bool{}}
	p.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.all.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.set(refuse)
		p.all.Wait()
	})
	return p
}

func (p *dockerProxy) url() string { return "tcp://" + p.l.Addr().String() }

// set changes what happens from now on; connections that are open are ended.
func (p *dockerProxy) set(m mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	for c := range p.open {
		_ = c.Close()
	}
	clear(p.open)
}

func (p *dockerProxy) current() mode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode
}

func (p *dockerProxy) track(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[c] = true
}

func (p *dockerProxy) serve(from net.Conn) {
	defer from.Close() //nolint:errcheck // nothing depends on it
	p.track(from)
	switch p.current() {
	case refuse:
		return
	case hang:
		_, _ = io.Copy(io.Discard, from) // until set ends it
		return
	}
	to, err := net.DialTimeout(p.network, p.engine, 10*time.Second)
	if err != nil {
		return
	}
	defer to.Close() //nolint:errcheck // nothing depends on it
	p.track(to)
	back := make(chan struct{})
	go func() {
		defer close(back)
		p.answer(from, to)
		_ = from.Close()
	}()
	p.ask(to, from)
	_ = to.Close()
	<-back
}

// ask passes requests on. A client writes the head of each at once.
func (p *dockerProxy) ask(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
		if line, _, _ := bytes.Cut(buffer[:n], []byte("\r\n")); bytes.HasPrefix(line, []byte("GET ")) && bytes.Contains(line, []byte("/events?")) {
			p.watches.Add(1)
		}
	}
}

// answer passes the engine's answers on, as long as they are not to be lost.
func (p *dockerProxy) answer(from, to net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := to.Read(buffer)
		if err != nil || p.current() == lose {
			return
		}
		if _, err := from.Write(buffer[:n]); err != nil {
			return
		}
	}
}
