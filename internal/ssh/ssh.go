// Package ssh reaches machines by SSH: it logs in to run scripts (Machines), and gives
// connections to the Docker sockets of many hosts, each host's through one connection that
// is kept (Tunnels). It is the only importer of golang.org/x/crypto/ssh, and must not know
// what the scripts do or what is said over the sockets.
//
// The client is all Berth's own: no program ssh, no configuration and no agent of the user
// that Berth runs as has a part in it. A machine is known by the host key that is pinned in
// host.Login, by nothing else.
package ssh

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"strings"
	"time"
	"unicode"

	xssh "golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

// Config says how long things may take. Zero values mean the defaults.
type Config struct {
	// DialLimit is how long a login, or the opening of a socket, may take. Default: 10 s.
	DialLimit time.Duration
	// KeepAlive is how often a connection is asked whether it lives. After three questions
	// without an answer it is closed. Default: 15 s.
	KeepAlive time.Duration
	// IdleLimit is how long the connection of Tunnels stays when nothing uses it. Default: 5 min.
	IdleLimit time.Duration
}

func (c Config) withDefaults() Config {
	return Config{
		DialLimit: cmp.Or(c.DialLimit, 10*time.Second),
		KeepAlive: cmp.Or(c.KeepAlive, 15*time.Second),
		IdleLimit: cmp.Or(c.IdleLimit, 5*time.Minute),
	}
}

// Machines implements host.Machines.
type Machines struct{ config Config }

// NewMachines makes Machines.
func NewMachines(config Config) *Machines { return &Machines{config: config.withDefaults()} }

var _ host.Machines = (*Machines)(nil)

// HostKey implements host.Machines.
func (m *Machines) HostKey(ctx context.Context, address string) (string, error) {
	key, err := shownKey(ctx, m.config, address)
	if err != nil {
		return "", err
	}
	return line(key), nil
}

// Shell implements host.Machines.
func (m *Machines) Shell(ctx context.Context, l host.Login) (host.Shell, error) {
	c, err := logIn(ctx, m.config, l)
	if err != nil {
		return nil, err
	}
	return newShell(c), nil
}

// NewKey implements host.Machines.
func (m *Machines) NewKey(comment string) (secret.Secret, string, error) {
	if strings.ContainsFunc(comment, unicode.IsControl) {
		return secret.Secret{}, "", fault.Errorf(fault.CodeInvalid, nil, "the comment of a key must be one line "+
			"without control characters")
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return secret.Secret{}, "", fault.Errorf(fault.CodeInternal, err, "no key could be made")
	}
	block, err := xssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return secret.Secret{}, "", fault.Errorf(fault.CodeInternal, err, "no key could be made")
	}
	shown, err := xssh.NewPublicKey(public)
	if err != nil {
		return secret.Secret{}, "", fault.Errorf(fault.CodeInternal, err, "no key could be made")
	}
	authorized := strings.TrimSpace(line(shown) + " " + comment)
	return secret.New(string(pem.EncodeToMemory(block))), authorized, nil
}

// line gives a public key as a line of known_hosts or authorized_keys has it: its type and
// base64 of the rest.
func line(key xssh.PublicKey) string {
	return strings.TrimSpace(string(xssh.MarshalAuthorizedKey(key)))
}
