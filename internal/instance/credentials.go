package instance

import (
	"encoding/json"
	"fmt"

	"github.com/berth-project/berth/internal/authority"
	"github.com/berth-project/berth/internal/secret"
)

// Credentials are the secrets of one instance. They are kept sealed, apart from
// the instance, and are deleted with it.
type Credentials struct {
	Username string
	Password secret.Secret
	Database string // empty where the engine has none
	// AdminPassword is the server's own administrator, unknown to the tenant and
	// usable only from inside the instance. Empty where the engine needs none.
	AdminPassword secret.Secret
	// WarmPassword is of whoever may do everything on a server that was started for
	// nobody. Adopt uses it, and leaves nobody there who could. Empty where the server was
	// started for its tenant.
	WarmPassword secret.Secret
	// CallbackSecret signs the callbacks about this instance ("whsec_…").
	CallbackSecret secret.Secret
	// Identity is what the server proves its address by. It is never stored: it is made
	// whenever the server's files are, and clients need its CA only. Empty where the server
	// has none.
	Identity authority.Identity
}

// openCredentials is Credentials with its secrets in the open; it exists between
// SealCredentials and OpenCredentials only.
type openCredentials struct {
	Username       string `json:"username"`
	Password       string `json:"password"`
	Database       string `json:"database,omitempty"`
	AdminPassword  string `json:"admin_password,omitempty"`
	WarmPassword   string `json:"warm_password,omitempty"`
	CallbackSecret string `json:"callback_secret"`
}

// CredentialsPlace binds sealed credentials to their instance.
func CredentialsPlace(id ID) string { return "credentials/" + string(id) }

// SealCredentials encrypts the credentials for the instance's row.
func SealCredentials(v secret.Vault, id ID, c Credentials) (secret.Sealed, error) {
	plain, err := json.Marshal(openCredentials{
		Username: c.Username, Password: c.Password.Reveal(), Database: c.Database,
		AdminPassword: c.AdminPassword.Reveal(), WarmPassword: c.WarmPassword.Reveal(), CallbackSecret: c.CallbackSecret.Reveal(),
	})
	if err != nil {
		return secret.Sealed{}, err
	}
	return v.Seal(plain, CredentialsPlace(id))
}

// OpenCredentials decrypts what SealCredentials made.
func OpenCredentials(v secret.Vault, id ID, s secret.Sealed) (Credentials, error) {
	plain, err := v.Open(s, CredentialsPlace(id))
	if err != nil {
		return Credentials{}, fmt.Errorf("open credentials of %s: %w", id, err)
	}
	var o openCredentials
	if err := json.Unmarshal(plain, &o); err != nil {
		return Credentials{}, fmt.Errorf("read credentials of %s: %w", id, err)
	}
	return Credentials{
		Username: o.Username, Password: secret.New(o.Password), Database: o.Database,
		AdminPassword: secret.New(o.AdminPassword), WarmPassword: secret.New(o.WarmPassword), CallbackSecret: secret.New(o.CallbackSecret),
	}, nil
}
