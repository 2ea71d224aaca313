package provision

import (
	"encoding/json"
	"fmt"
)

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

func credentialsContext(id InstanceID) string { return "credentials/" + string(id) }

// SealCredentials encrypts the credentials for the instance's row.
func SealCredentials(v Vault, id InstanceID, c Credentials) (Sealed, error) {
	plain, err := json.Marshal(openCredentials{
		Username: c.Username, Password: c.Password.Reveal(), Database: c.Database,
		AdminPassword: c.AdminPassword.Reveal(), WarmPassword: c.WarmPassword.Reveal(), CallbackSecret: c.CallbackSecret.Reveal(),
	})
	if err != nil {
		return Sealed{}, err
	}
	return v.Seal(plain, credentialsContext(id))
}

// OpenCredentials decrypts what SealCredentials made.
func OpenCredentials(v Vault, id InstanceID, s Sealed) (Credentials, error) {
	plain, err := v.Open(s, credentialsContext(id))
	if err != nil {
		return Credentials{}, fmt.Errorf("open credentials of %s: %w", id, err)
	}
	var o openCredentials
	if err := json.Unmarshal(plain, &o); err != nil {
		return Credentials{}, fmt.Errorf("read credentials of %s: %w", id, err)
	}
	return Credentials{
		Username: o.Username, Password: NewSecret(o.Password), Database: o.Database,
		AdminPassword: NewSecret(o.AdminPassword), WarmPassword: NewSecret(o.WarmPassword), CallbackSecret: NewSecret(o.CallbackSecret),
	}, nil
}
