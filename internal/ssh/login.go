package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	xssh "golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

// logIn makes a connection that lives until it is closed, or does not answer any more.
func logIn(ctx context.Context, config Config, l host.Login) (*connection, error) {
	want, err := pinned(l)
	if err != nil {
		return nil, err
	}
	methods, err := methodsOf(l)
	if err != nil {
		return nil, err
	}
	p := &pin{want: want}
	asked := false // the machine has said how one can log in
	client, err := handshake(ctx, config, l.Address, &xssh.ClientConfig{
		User:              l.User,
		Auth:              methods,
		HostKeyCallback:   p.check,
		HostKeyAlgorithms: algorithmsOf(want.Type()),
		AuthCallback: func(*xssh.ClientAuthContext) (xssh.AuthMethod, error) {
			asked = true
			return nil, nil //nolint:nilnil // x/crypto's word for "go on with Auth"
		},
	})
	switch {
	case err == nil:
		return newConnection(client, l.Address, config.KeepAlive), nil
	case p.other() != nil:
		return nil, changed(l.Address, want, p.other(), err)
	case otherKind(err):
		shown, missing := shownKey(ctx, config, l.Address)
		if missing != nil && !otherKind(missing) {
			return nil, missing
		}
		return nil, changed(l.Address, want, shown, err)
	case asked && !broken(err):
		return nil, loginRefused(l, err)
	default:
		return nil, unreached(l.Address, err)
	}
}

// otherKind reports whether a handshake failed because the machine has no host key of the
// kind that was asked for.
func otherKind(err error) bool {
	var negotiation *xssh.AlgorithmNegotiationError
	return errors.As(err, &negotiation) && slices.ContainsFunc(negotiation.SupportedAlgorithms, func(algorithm string) bool {
		return slices.Contains(hostKeyAlgorithms, algorithm)
	})
}

// methodsOf gives the ways to log in, in the order in which they are tried. Keys and passwords
// are in no error.
func methodsOf(l host.Login) ([]xssh.AuthMethod, error) {
	if l.User == "" {
		return nil, fault.Errorf(fault.CodeInvalid, nil, "the login to %s names no user", l.Address)
	}
	var methods []xssh.AuthMethod
	if !l.Key.Empty() {
		signer, err := xssh.ParsePrivateKey([]byte(l.Key.Reveal()))
		var locked *xssh.PassphraseMissingError
		switch {
		case errors.As(err, &locked):
			return nil, fault.Errorf(fault.CodeInvalid, nil, "the private key for %s@%s is protected by a passphrase; "+
				"give one that is not", l.User, l.Address)
		case err != nil: // whose words may quote the key
			return nil, fault.Errorf(fault.CodeInvalid, nil, "the private key for %s@%s cannot be read: it must be a "+
				"PEM block as ssh-keygen writes it", l.User, l.Address)
		}
		methods = append(methods, xssh.PublicKeys(signer))
	}
	if !l.Password.Empty() {
		methods = append(methods, xssh.Password(l.Password.Reveal()), xssh.KeyboardInteractive(answer(l.Password)))
	}
	if len(methods) == 0 {
		return nil, fault.Errorf(fault.CodeInvalid, nil, "the login to %s@%s has neither a password nor a key", l.User, l.Address)
	}
	return methods, nil
}

// answer gives the password to the one question that asks for it. Whatever a machine asks
// besides, such as a code or a new password, has no answer.
func answer(password secret.Secret) xssh.KeyboardInteractiveChallenge {
	given := false
	return func(_, _ string, questions []string, echos []bool) ([]string, error) {
		switch {
		case len(questions) == 0: // only words to read
			return nil, nil
		case given || len(questions) > 1 || echos[0]:
			return nil, errors.New("the machine asks for more than a password")
		}
		given = true
		return []string{password.Reveal()}, nil
	}
}

// handshake connects and logs in, within the limit and the context. What it opens is closed
// where it fails.
func handshake(ctx context.Context, config Config, address string, client *xssh.ClientConfig) (*xssh.Client, error) {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return nil, fault.Errorf(fault.CodeInvalid, err, "%q is no address of a machine: it must be HOST:PORT", address)
	}
	ctx, cancel := context.WithTimeout(ctx, config.DialLimit)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	inner, channels, requests, err := xssh.NewClientConn(conn, address, client)
	if !stop() { // the connection is closed, whatever the handshake came to
		_ = conn.Close()
		if err == nil {
			_ = inner.Close()
		}
		var shown *shownError
		if errors.As(err, &shown) {
			return nil, err
		}
		return nil, fmt.Errorf("log in: %w", ctx.Err())
	}
	if err != nil {
		return nil, err // which has closed the connection
	}
	return xssh.NewClient(inner, channels, requests), nil
}

// broken reports whether the connection ended, or the time was over, rather than that the
// machine said something.
func broken(err error) bool {
	var network net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network)
}

func loginRefused(l host.Login, err error) error {
	with := "the key"
	switch {
	case l.Key.Empty():
		with = "the password"
	case !l.Password.Empty():
		with = "the key and with the password"
	}
	return fault.Errorf(fault.CodeLoginRefused, err,
		"%s refuses the login of user %s with %s. Check user, password and key, and that the machine's SSH server "+
			"allows this user to log in in this way "+
			"(PermitRootLogin, PasswordAuthentication, AllowUsers)", l.Address, l.User, with)
}

// unreached is the error of a machine that does not answer, or does not speak SSH as Berth
// does. An error that has its words already stays as it is.
func unreached(address string, err error) error {
	var known *fault.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled):
		return fault.Errorf(fault.CodeHostUnavailable, err, "the login to %s was canceled", address)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Errorf(fault.CodeHostUnavailable, err, "%s does not answer by SSH in time; check that the "+
			"machine is up and that nothing drops its packets", address)
	case broken(err):
		return fault.Errorf(fault.CodeHostUnavailable, err, "%s does not answer by SSH: %s; check address and port, "+
			"and that its SSH server runs", address, short(err))
	default:
		return fault.Errorf(fault.CodeHostUnavailable, err, "there is no SSH server at %s that Berth can talk to: "+
			"%s", address, short(err))
	}
}

// maxWords bounds what of a machine's words is shown, in bytes.
const maxWords = 300

// short gives the words of an error, some of which a machine may have put in, as part of a line.
func short(err error) string { return readable(err.Error()) }

// readable makes a text part of a line: without what moves a terminal's cursor or is no text,
// and not too long.
func readable(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return -1
		default:
			return r
		}
	}, text)
	text = strings.TrimSpace(text)
	if len(text) <= maxWords {
		return text
	}
	cut := maxWords
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
