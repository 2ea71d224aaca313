package engine

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/instance"
)

// tlsYears is as long as the certificates last that mysqld makes for itself.
const tlsYears = 10

// mysqlTLS gives the server's own certificate, and its key. The key follows from the
// administrator's password, which is random and the instance's own, so that nothing
// more needs to be kept secret, and the same instance has the same key for ever. mysqld
// would make three RSA keys at its first start, which takes longer than a copy of its
// data.
func mysqlTLS(inst instance.Instance, cred instance.Credentials) (certificate, key string, err error) {
	private, err := tlsKey(inst, cred)
	if err != nil {
		return "", "", err
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
		return "", "", fmt.Errorf("make the certificate: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", fmt.Errorf("encode the certificate's key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})), nil
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
