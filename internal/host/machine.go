package host

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/berth-project/berth/internal/secret"
)

// Login is how Berth logs in to a machine. It is comparable, and shows no secret however
// it is printed.
type Login struct {
	Address  string        // "host:port"
	User     string        // root, or one who may use the Docker socket, which is as good as root
	Password secret.Secret // for the first login only; zero: none
	Key      secret.Secret // private key, PEM of OpenSSH; zero: none
	HostKey  string        // the pinned public key, as a line of known_hosts has it ("ssh-ed25519 AAAA…")
}

// Machines reaches machines before they are hosts, and beside what their engines do.
type Machines interface {
	// HostKey gives the public key that the machine shows, in the form of Login.HostKey. It
	// logs in to nothing. CodeHostUnavailable when nothing answers there that speaks SSH.
	HostKey(ctx context.Context, address string) (string, error)
	// Shell logs in. No password or signature leaves before the machine has shown the pinned
	// key. CodeHostUnavailable: it does not answer; CodeLoginRefused: it does not let the
	// user in; CodeHostKeyChanged: it shows another key; CodeInvalid: the login cannot be
	// read, or pins no key.
	Shell(ctx context.Context, l Login) (Shell, error)
	// NewKey makes a key pair: the private key (OpenSSH PEM) and the line for authorized_keys,
	// which ends in the comment. CodeInvalid: the comment is more than part of one line.
	NewKey(comment string) (private secret.Secret, authorized string, err error)
}

// Shell is a login to a machine that lasts.
type Shell interface {
	// Run runs a POSIX sh script as `sh -s -- args` would with the script on its standard
	// input, and gives what it wrote to its standard output. The script's own standard input
	// is not defined. Of scripts that are run at the same time one waits for the other.
	//
	// A *ScriptError says how the script ended, if not with 0, or that it wrote more than
	// MaxOutput; what it wrote until then is given, too. CodeHostUnavailable when the machine
	// went away, or the context ended: nobody knows then how far the script got. It is not
	// killed, but has no standard output any more; run it again by another Shell.
	Run(ctx context.Context, script string, args ...string) (string, error)
	// Close logs out.
	Close() error
}

// MaxOutput is how much of what a script writes is read, in bytes.
const MaxOutput = 1 << 20

// ScriptError is the end of a script that did not work.
type ScriptError struct {
	Status   int    // its exit status; -1: it has none
	Signal   string // what ended it, without "SIG"; empty: it ended by itself
	Said     string // the last line of its standard error
	TooLarge bool   // it was ended because it wrote more than MaxOutput
}

// Error says how it ended, and its last words.
func (e *ScriptError) Error() string {
	var how string
	switch {
	case e.TooLarge:
		how = fmt.Sprintf("the script wrote more than %d bytes", MaxOutput)
	case e.Signal != "":
		how = "the script was ended by SIG" + e.Signal
	case e.Status < 0:
		how = "the script ended without an exit status"
	default:
		how = fmt.Sprintf("the script ended with exit status %d", e.Status)
	}
	if e.Said == "" {
		return how
	}
	return how + ": " + e.Said
}

const hostKeyMessage = "must be a public key as the machine shows it: its kind and the key, as in ssh_host_ed25519_key.pub"

// validHostKey reports whether a line is a public key, which names its kind within, too (RFC 4253, 6.6).
// A comment may follow.
func validHostKey(line string) bool {
	parts := strings.Fields(line)
	if len(parts) < 2 || strings.ContainsAny(line, "\r\n") {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(parts[1])
	named, kind := uint32(len(parts[0])), parts[0] //nolint:gosec // a short line
	return err == nil && len(key) > 4 && binary.BigEndian.Uint32(key) == named && strings.HasPrefix(string(key[4:]), kind)
}
