package ssh

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"

	xssh "golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// hostKeyAlgorithms are those that a machine may prove its key with, the ones to be pinned
// rather first. Signatures with SHA-1, which every RSA key could give, are none.
var hostKeyAlgorithms = []string{
	xssh.KeyAlgoED25519,
	xssh.KeyAlgoECDSA256, xssh.KeyAlgoECDSA384, xssh.KeyAlgoECDSA521,
	xssh.KeyAlgoRSASHA512, xssh.KeyAlgoRSASHA256,
}

// algorithmsOf gives those that prove a key of this type.
func algorithmsOf(keyType string) []string {
	if keyType == xssh.KeyAlgoRSA {
		return []string{xssh.KeyAlgoRSASHA512, xssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

// pinned reads the host key of a login.
func pinned(l host.Login) (xssh.PublicKey, error) {
	if l.HostKey == "" {
		return nil, fault.Errorf(fault.CodeInvalid, nil, "no host key is pinned for %s; Berth logs in to no machine "+
			"that it cannot recognize", l.Address)
	}
	key, _, options, rest, err := xssh.ParseAuthorizedKey([]byte(l.HostKey))
	if err != nil || len(options) > 0 || len(bytes.TrimSpace(rest)) > 0 || strings.Contains(strings.TrimSpace(l.HostKey), "\n") {
		return nil, fault.Errorf(fault.CodeInvalid, err,
			"the pinned host key of %s cannot be read: it must be one public key as ssh-keyscan shows it, without the "+
				"name (\"ssh-ed25519 AAAA…\")", l.Address)
	}
	if !slices.Contains(hostKeyAlgorithms, algorithmsOf(key.Type())[0]) {
		return nil, fault.Errorf(fault.CodeInvalid, nil, "the pinned host key of %s is of the kind %s; Berth knows "+
			"machines by ed25519, ecdsa and rsa keys", l.Address, key.Type())
	}
	return key, nil
}

// shownError ends a handshake at the moment that the machine has proven its key. It carries
// the key; nobody sees it as an error.
type shownError struct{ key xssh.PublicKey }

func (*shownError) Error() string { return "the host key is known; nothing else was asked for" }

// shownKey asks the machine for its key, and hangs up before any login.
func shownKey(ctx context.Context, config Config, address string) (xssh.PublicKey, error) {
	_, err := handshake(ctx, config, address, &xssh.ClientConfig{
		HostKeyAlgorithms: hostKeyAlgorithms,
		HostKeyCallback:   func(_ string, _ net.Addr, key xssh.PublicKey) error { return &shownError{key} },
	})
	var shown *shownError
	if errors.As(err, &shown) {
		return shown.key, nil
	}
	return nil, unreached(address, err)
}

// pin is the host key that must be shown in one login.
type pin struct {
	want xssh.PublicKey

	mu    sync.Mutex
	shown xssh.PublicKey // another one; nil: none
}

func (p *pin) check(_ string, _ net.Addr, key xssh.PublicKey) error {
	if bytes.Equal(key.Marshal(), p.want.Marshal()) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown = key
	return errors.New("the machine shows another host key than the one that is pinned")
}

// other gives the other key that was shown; nil: none was.
func (p *pin) other() xssh.PublicKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown
}

// changed is the refusal to go on with a machine that shows another key. shown is nil where
// it has none that Berth can read.
func changed(address string, want, shown xssh.PublicKey, cause error) error {
	now := "none of a kind that Berth knows"
	if shown != nil {
		now = shown.Type() + " " + xssh.FingerprintSHA256(shown)
	}
	return fault.Errorf(fault.CodeHostKeyChanged, cause,
		"%s shows the host key %s instead of the pinned %s %s: it was installed anew, another machine has its "+
			"address, or somebody is in between. "+
			"Nothing was sent to it. Compare the new fingerprint with the one on the machine's own console "+
			"(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub); "+
			"only if they are the same, pin the new key",
		address, now, want.Type(), xssh.FingerprintSHA256(want))
}
