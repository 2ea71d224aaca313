package provision

import "log/slog"

const redacted = "[redacted]"

// Secret is a string that must not be shown. Printing, logging or encoding it
// gives "[redacted]"; Reveal is the only way to its content, so that a search for
// Reveal finds every place that handles one.
type Secret struct{ value string }

// NewSecret wraps a secret value.
func NewSecret(value string) Secret { return Secret{value: value} }

// Reveal gives the content.
func (s Secret) Reveal() string { return s.value }

// Empty reports whether there is no content.
func (s Secret) Empty() bool { return s.value == "" }

// String hides the content.
func (s Secret) String() string { return redacted }

// GoString hides the content from %#v.
func (s Secret) GoString() string { return redacted }

// MarshalText hides the content from every encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue hides the content from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Credentials are the secrets of one instance. They are kept sealed, apart from
// the instance, and are deleted with it.
type Credentials struct {
	Username string
	Password Secret
	Database string // empty where the engine has none
	// AdminPassword is the server's own administrator, unknown to the tenant and
	// usable only from inside the instance. Empty where the engine needs none.
	AdminPassword Secret
	// WarmPassword is of whoever may do everything on a server that was started for
	// nobody. Adopt uses it, and leaves nobody there who could. Empty where the server was
	// started for its tenant.
	WarmPassword Secret
	// CallbackSecret signs the callbacks about this instance ("whsec_…").
	CallbackSecret Secret
}

// Sealed is a ciphertext with the id of the key that opens it, so that keys can
// be rotated row by row.
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
