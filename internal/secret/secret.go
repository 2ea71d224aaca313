// Package secret owns values that must not be shown: Secret, which redacts itself, and how
// they are made and encrypted at rest. It must not know what they are for, and imports the
// standard library only.
package secret

import "log/slog"

// Redacted is shown in the place of a secret.
const Redacted = "[redacted]"

// Secret is a string that must not be shown. Printing, logging or encoding it
// gives "[redacted]"; Reveal is the only way to its content, so that a search for
// Reveal finds every place that handles one.
type Secret struct{ value string }

// New wraps a secret value.
func New(value string) Secret { return Secret{value: value} }

// Reveal gives the content.
func (s Secret) Reveal() string { return s.value }

// Empty reports whether there is no content.
func (s Secret) Empty() bool { return s.value == "" }

// String hides the content.
func (s Secret) String() string { return Redacted }

// GoString hides the content from %#v.
func (s Secret) GoString() string { return Redacted }

// MarshalText hides the content from every encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// LogValue hides the content from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(Redacted) }

// Sealed is a ciphertext with its key id, which says how it is sealed and with which master
// key, so that keys can be rotated row by row.
type Sealed struct {
	KeyID      string
	Ciphertext []byte
}

// Vault seals what must not lie open in the database. The context string binds a
// ciphertext to its place: opened with another context it fails.
type Vault interface {
	Seal(plaintext []byte, context string) (Sealed, error)
	Open(s Sealed, context string) ([]byte, error)
}

// Generator makes secrets from a cryptographic source.
type Generator interface {
	// Password gives n characters of [A-Za-z0-9], so that it needs no quoting in a
	// URI, a configuration file or a shell.
	Password(n int) Secret
	// SigningSecret gives a Standard Webhooks secret: "whsec_" and base64 of 32 bytes.
	SigningSecret() Secret
}
