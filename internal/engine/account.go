package engine

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// Berth looks after a server by an account of its own beside the tenant's: it gets in when
// all connections are taken, what it writes is in nobody's way, and what the tenant does to
// their password or database does not keep it out.

// berthPassword derives the password of Berth's own account (HKDF, RFC 5869) from the
// administrator's, which is random and the instance's own and no tenant ever sees. It is
// empty for an instance that has no administrator's password: that one has no such account.
func berthPassword(inst instance.Instance, cred instance.Credentials) (secret.Secret, error) {
	if cred.AdminPassword.Empty() {
		return secret.Secret{}, nil
	}
	key, err := hkdf.Key(sha256.New, []byte(cred.AdminPassword.Reveal()), []byte(inst.ID), "berth own account", 20)
	if err != nil {
		return secret.Secret{}, fmt.Errorf("derive the password of Berth's account: %w", err)
	}
	return secret.New(hex.EncodeToString(key)), nil
}
