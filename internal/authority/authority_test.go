package authority_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-project/berth/internal/authority"
	"github.com/berth-project/berth/internal/authority/authoritytest"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/secret"
)

func keyring(t *testing.T) *secret.Keyring {
	t.Helper()
	v, err := secret.NewKeyring(secret.MasterKey())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestOpenAtOnce has many processes make the deployment's authority: all get the same one.
func TestOpenAtOnce(t *testing.T) {
	cfg := authority.Config{Store: &authoritytest.Store{}, Vault: keyring(t), Deployment: "dep_1", Now: clock.System}
	got := make([]*authority.Authority, 16)
	var all errgroup.Group
	for i := range got {
		all.Go(func() (err error) {
			got[i], err = authority.Open(t.Context(), cfg)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, a := range got {
		if a.Certificate() != got[0].Certificate() {
			t.Fatal("two processes have two authorities")
		}
	}
	record, err := cfg.Store.Authority(t.Context())
	if err != nil || strings.Contains(record.Certificate+string(record.Key.Ciphertext), "PRIVATE") {
		t.Errorf("its key lies open: %v", err)
	}
	lost := cfg
	lost.Vault, lost.Lost = keyring(t), []string{secret.MasterKeyOf(record.Key.KeyID)}
	still := cfg
	still.Lost = lost.Lost
	if a, err := authority.Open(t.Context(), still); err != nil || a.Certificate() != got[0].Certificate() {
		t.Errorf("a key that is not lost after all: %v", err)
	}
	for what, change := range map[string]func(*authority.Config){
		"another master key": func(c *authority.Config) { c.Vault = keyring(t) },
		"another deployment": func(c *authority.Config) { c.Deployment = "dep_2" },
	} {
		other := cfg
		change(&other)
		if _, err := authority.Open(t.Context(), other); err == nil {
			t.Errorf("%s: it opens", what)
		}
	}
	// With its master key the authority is lost; all processes make the same new one.
	var again errgroup.Group
	for i := range got {
		again.Go(func() (err error) {
			got[i], err = authority.Open(t.Context(), lost)
			return err
		})
	}
	if err := again.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, a := range got {
		if a.Certificate() != got[0].Certificate() || a.Certificate() == record.Certificate {
			t.Fatal("the new authority is not one and new")
		}
	}
}

// identity certifies a server at an address.
func identity(t *testing.T, a *authority.Authority, name, address string) authority.Identity {
	t.Helper()
	id, err := a.Certify(authority.Subject{Name: name, Address: address, Secret: secret.New(name + "'s secret"), Until: a.Until()})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// verify does what a client does that has the authority's certificate.
func verify(t *testing.T, id authority.Identity, ca, address string, now time.Time) error {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(id.Certificate), []byte(id.Key.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ca)) {
		t.Fatal("the authority's certificate is none")
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{DNSName: address, Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err
}

// TestCertify verifies servers at every kind of address.
func TestCertify(t *testing.T) {
	now := time.Now()
	a, other := authoritytest.New(t, clock.System), authoritytest.New(t, clock.System)
	for _, address := range []string{"10.1.2.3", "db.example.com", "::1", "2001:db8::7", "localhost", "127.0.0.1", "node-7"} {
		id := identity(t, a, "ins_1", address)
		if id.CA != a.Certificate() {
			t.Error("it names another authority")
		}
		for _, good := range []string{address, "localhost", "127.0.0.1", "::1"} {
			if err := verify(t, id, a.Certificate(), good, now); err != nil {
				t.Errorf("of %s, at %s: %v", address, good, err)
			}
		}
		for _, bad := range []string{"10.1.2.4", "example.com", "other.example.com", "a.db.example.com"} {
			var wrong x509.HostnameError
			if err := verify(t, id, a.Certificate(), bad, now); !errors.As(err, &wrong) {
				t.Errorf("of %s, at %s: %v", address, bad, err)
			}
		}
		if err := verify(t, id, other.Certificate(), address, now); err == nil {
			t.Errorf("of %s: another authority vouches for it", address)
		}
		for when, good := range map[time.Duration]bool{-30 * time.Minute: true, authority.Term - time.Hour: true, authority.Term + time.Hour: false} {
			if err := verify(t, id, a.Certificate(), address, now.Add(when)); (err == nil) != good {
				t.Errorf("of %s, %s from now: %v", address, when, err)
			}
		}
	}
}

// TestServersAreNoAuthorities and share no keys.
func TestServersAreNoAuthorities(t *testing.T) {
	a := authoritytest.New(t, clock.System)
	one, again, two := identity(t, a, "ins_1", "10.0.0.1"), identity(t, a, "ins_1", "10.0.0.1"), identity(t, a, "ins_2", "10.0.0.1")
	if one.Key != again.Key || one.Key == two.Key {
		t.Error("a server has one key, and no other server has it")
	}
	for text, ca := range map[string]bool{one.Certificate: false, a.Certificate(): true} {
		block, _ := pem.Decode([]byte(text))
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || c.IsCA != ca || !c.BasicConstraintsValid || (c.KeyUsage&x509.KeyUsageCertSign != 0) != ca {
			t.Errorf("authority %v: %+v, %v", ca, c, err)
		}
	}
	if _, err := a.Certify(authority.Subject{Name: "ins_3", Address: "10.0.0.1", Until: a.Until()}); err == nil {
		t.Error("a server without a secret has a key that others can derive")
	}
}
