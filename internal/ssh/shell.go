package ssh

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// shell implements host.Shell. Each script has a session of its own. There is one at a time:
// servers limit the sessions of a connection (MaxSessions), some of them to one.
type shell struct {
	connection *connection
	turn       chan struct{} // has room for whose turn it is
}

func newShell(c *connection) *shell { return &shell{connection: c, turn: make(chan struct{}, 1)} }

// Close implements host.Shell.
func (s *shell) Close() error {
	s.connection.end()
	return nil
}

// Run implements host.Shell.
func (s *shell) Run(ctx context.Context, script string, args ...string) (string, error) {
	input, err := withArguments(script, args)
	if err != nil {
		return "", err
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", s.gone(ctx.Err())
	}
	session, err := s.open(ctx)
	var refused *xssh.OpenChannelError
	if errors.As(err, &refused) {
		return "", fault.Errorf(fault.CodeHostUnavailable, err, "%s gives Berth no session to run a script in: %s; "+
			"check MaxSessions of its SSH server",
			s.connection.address, short(err))
	}
	if err != nil {
		return "", s.gone(err)
	}
	defer abandon(session)
	return s.run(ctx, session, input)
}

// sessionLimit is how long a server may refuse a session because the last one has not quite ended.
const sessionLimit = 3 * time.Second

// open opens a session. A server that has room for few counts the one before until it is rid of
// its process, which is a moment later than its end is known here.
func (s *shell) open(ctx context.Context) (*xssh.Session, error) {
	limit := time.NewTimer(sessionLimit)
	defer limit.Stop()
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		session, err := await(ctx, s.connection.NewSession, func(session *xssh.Session) { _ = session.Close() })
		var refused *xssh.OpenChannelError
		if !errors.As(err, &refused) {
			return session, err
		}
		select {
		case <-time.After(pause):
		case <-limit.C:
			return nil, err
		case <-ctx.Done():
			return nil, err
		}
	}
}

// run runs what `sh` reads in the session.
func (s *shell) run(ctx context.Context, session *xssh.Session, input string) (string, error) {
	full := make(chan struct{})
	out, said := &bounded{max: host.MaxOutput, full: full}, &lastLine{}
	session.Stdin, session.Stdout, session.Stderr = strings.NewReader(input), out, said
	ended := make(chan error, 1)
	go func() {
		err := session.Start("exec sh -s")
		if err == nil {
			err = session.Wait()
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		return out.text(), s.outcome(err, out, said)
	case <-full:
		return out.text(), &host.ScriptError{Status: -1, Said: said.text(), TooLarge: true}
	case <-ctx.Done():
		return out.text(), s.gone(ctx.Err())
	}
}

// abandon lets go of a script that nobody waits for any more, without waiting: the machine may
// have gone. It is not killed, since a package that is installed by half is worse than one too
// many; OpenSSH would do so for some users and not for root. One that goes on writing ends by that.
func abandon(session *xssh.Session) {
	go func() { _ = session.Close() }()
}

// outcome gives how a script ended.
func (s *shell) outcome(err error, out *bounded, said *lastLine) error {
	var exit *xssh.ExitError
	var missing *xssh.ExitMissingError
	switch {
	case out.overflown():
		return &host.ScriptError{Status: -1, Said: said.text(), TooLarge: true}
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.Signal() != "":
		return &host.ScriptError{Status: -1, Signal: readable(exit.Signal()), Said: said.text()}
	case errors.As(err, &exit):
		return &host.ScriptError{Status: exit.ExitStatus(), Said: said.text()}
	case errors.As(err, &missing) && s.connection.alive():
		return &host.ScriptError{Status: -1, Said: said.text()}
	default:
		return s.gone(err)
	}
}

func (s *shell) gone(err error) error {
	if errors.Is(err, context.Canceled) {
		return fault.Errorf(fault.CodeHostUnavailable, err, "the script on %s was canceled", s.connection.address)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.Errorf(fault.CodeHostUnavailable, err, "the script on %s took too long", s.connection.address)
	}
	return fault.Errorf(fault.CodeHostUnavailable, err, "the connection to %s ended while Berth ran a script there", s.connection.address)
}

// withArguments gives the script with its arguments. They go with it instead of in the command:
// there they would be read by the user's login shell, which may be none of POSIX, and everybody
// on the machine would see them.
func withArguments(script string, args []string) (string, error) {
	var b strings.Builder
	b.WriteString("set --")
	for _, arg := range args {
		if strings.ContainsRune(arg, 0) {
			return "", fault.Errorf(fault.CodeInvalid, nil, "an argument of a script holds a NUL byte")
		}
		b.WriteString(" '" + strings.ReplaceAll(arg, "'", `'\''`) + "'")
	}
	b.WriteString("\n" + script)
	if !strings.HasSuffix(script, "\n") {
		b.WriteString("\n")
	}
	return b.String(), nil
}

// await does what knows of no context until the context ends. What comes of it later is
// dropped by drop.
func await[T any](ctx context.Context, do func() (T, error), drop func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	done := make(chan result)
	go func() {
		value, err := do()
		select {
		case done <- result{value, err}:
		case <-ctx.Done():
			if err == nil {
				drop(value)
			}
		}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// bounded keeps the first bytes of what is written, and says when there are more.
type bounded struct {
	max  int
	full chan struct{}

	mu   sync.Mutex
	kept bytes.Buffer
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return 0, io.ErrShortWrite
	}
	room := b.max - b.kept.Len()
	if len(p) <= room {
		return b.kept.Write(p)
	}
	b.kept.Write(p[:room])
	b.over = true
	close(b.full)
	return room, io.ErrShortWrite
}

func (b *bounded) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept.String()
}

func (b *bounded) overflown() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}

// lastLine keeps the last line that is not empty of what is written, as far as it is shown.
type lastLine struct {
	mu         sync.Mutex
	line, last []byte
}

func (l *lastLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range p {
		switch {
		case c == '\n':
			l.finish()
		case len(l.line) <= maxWords:
			l.line = append(l.line, c)
		}
	}
	return len(p), nil
}

func (l *lastLine) finish() {
	if len(bytes.TrimSpace(l.line)) > 0 {
		l.last = append(l.last[:0], l.line...)
	}
	l.line = l.line[:0]
}

func (l *lastLine) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finish()
	return readable(string(l.last))
}
