package engine

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// tlsYears is as long as the certificates last that mysqld makes for itself.
const tlsYears = 10

// mysqlCertificate gives the server's certificate, and its key: those of its identity, or,
// where it has none, of its own making. mysqld would make three RSA keys at its first start,
// which takes longer than a copy of its data.
func mysqlCertificate(inst instance.Instance, cred instance.Credentials) (certificate string, key secret.Secret, err error) {
	if cred.Identity.Certificate != "" {
		return cred.Identity.Certificate, cred.Identity.Key, nil
	}
	if inst.Spec.RequireTLS {
		return "", secret.Secret{}, errNoCertificate(inst)
	}
	return selfSigned(inst, cred)
}

// selfSigned makes a certificate that nobody vouches for. The key follows from the
// administrator's password, which is random and the instance's own, so that nothing more
// needs to be kept secret, and the same instance has the same key for ever.
func selfSigned(inst instance.Instance, cred instance.Credentials) (certificate string, key secret.Secret, err error) {
	private, err := tlsKey(inst, cred)
	if err != nil {
		return "", secret.Secret{}, err
	}
	id := sha256.Sum256([]byte("serial of " + string(inst.ID)))
	template := x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(id[:16]),
		Subject:      pkix.Name{CommonName: "MySQL " + string(inst.ID)},
		NotBefore:    inst.CreatedAt.UTC().Truncate(24 * time.Hour),
		NotAfter:     inst.CreatedAt.UTC().Truncate(24*time.Hour).AddDate(tlsYears, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:         true, BasicConstraintsValid: true,
	}
	// Without a source of randomness the signature is that of RFC 6979.
	signed, err := x509.CreateCertificate(nil, &template, &template, private.Public(), private)
	if err != nil {
		return "", secret.Secret{}, fmt.Errorf("make the certificate: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", secret.Secret{}, fmt.Errorf("encode the certificate's key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})),
		secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))), nil
}

// tlsKey derives the key (HKDF, RFC 5869).
func tlsKey(inst instance.Instance, cred instance.Credentials) (*ecdsa.PrivateKey, error) {
	if cred.AdminPassword.Empty() {
		return nil, fault.Errorf(fault.CodeInternal, nil, "instance %s has no administrator's password", inst.ID)
	}
	for try := 0; ; try++ {
		seed, err := hkdf.Key(sha256.New, []byte(cred.AdminPassword.Reveal()), []byte(inst.ID), fmt.Sprintf("berth mysql tls %d", try), 32)
		if err != nil {
			return nil, fmt.Errorf("derive the certificate's key: %w", err)
		}
		// One of four thousand million numbers is not a key.
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed); err == nil || try > 2 {
			return key, err
		}
	}
}

// mysqlTLS writes the connection as clients take it that verify the server.
func mysqlTLS(inst instance.Instance, cred instance.Credentials, uri url.URL) *instance.TLSConnection {
	c := tlsConnection(inst, cred, inst.Status.Port)
	if c == nil {
		return nil
	}
	uri.RawQuery = "ssl-mode=VERIFY_IDENTITY&ssl-ca=" + caFile
	dsn := mysqlDSN(inst, cred)
	dsn.TLSConfig = "berth" // to be registered with the CA
	c.URI, c.DSN = secret.New(uri.String()), secret.New(dsn.FormatDSN())
	c.CLI = secret.New(mysqlCLI(inst, cred).Reveal() + " --ssl-mode=VERIFY_IDENTITY --ssl-ca=" + caFile)
	return c
}

// Recertify has the server read its certificate anew; connections that are open go on.
func (e mysqlEngine) Recertify(ctx context.Context, inst instance.Instance, cred instance.Credentials) error {
	password, err := berthPassword(inst, cred)
	if err != nil {
		return err
	}
	take := func(verify bool, statement string) error {
		cfg := clientTLS(inst, cred)
		if cfg.InsecureSkipVerify = !verify; verify {
			cfg.VerifyConnection = newCertificate(e.info.Title, cred.Identity.Certificate)
		}
		db, err := mysqlDatabase(inst, mysqlBerth, password, "", cfg)
		if err != nil {
			return err
		}
		defer db.Close() //nolint:errcheck // its only connection is done
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return notUsable("MySQL", "taking a new certificate", err)
		}
		return nil
	}
	if err := take(false, "ALTER INSTANCE RELOAD TLS"); err != nil { // the old one may have ended
		return err
	}
	return take(true, "DO 0")
}
