package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/berth-project/berth/internal/secret"
)

const (
	// Term is how long a server's certificate is good.
	Term = 397 * 24 * time.Hour
	// renewBefore is how long before its end it is renewed.
	renewBefore = 60 * 24 * time.Hour
)

// Identity is what a server proves by who it is.
type Identity struct {
	CA          string // the authority's certificate; this and the others in PEM
	Certificate string
	Key         secret.Secret
}

// Subject is a server to certify.
type Subject struct {
	Name    string        // for people
	Address string        // that clients connect to: an IP address, or a host name
	Secret  secret.Secret // the server's own and random; its key follows from it
	Until   time.Time     // how long the certificate is good; see Authority.Until
}

// Until gives how long a certificate that is made now is good.
func (a *Authority) Until() time.Time {
	until := a.now().Add(Term).Truncate(time.Second)
	if a.certificate.NotAfter.Before(until) {
		return a.certificate.NotAfter
	}
	return until
}

// RenewalDue gives the time up to which certificates end that are to be renewed now.
func RenewalDue(now time.Time) time.Time { return now.Add(renewBefore) }

// Certify gives the server its identity: for its address, and for localhost. The key is
// derived, so that it need not be kept and the same server has the same one again.
func (a *Authority) Certify(s Subject) (Identity, error) {
	key, err := keyOf(s)
	if err != nil {
		return Identity{}, err
	}
	template := x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: s.Name},
		NotBefore:    s.Until.Add(-Term - skew), NotAfter: s.Until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if ip := net.ParseIP(s.Address); ip == nil {
		template.DNSNames = append([]string{s.Address}, template.DNSNames...)
	} else if !ip.IsLoopback() {
		template.IPAddresses = append([]net.IP{ip}, template.IPAddresses...)
	}
	signed, err := x509.CreateCertificate(rand.Reader, &template, a.certificate, key.Public(), a.key)
	if err != nil {
		return Identity{}, fmt.Errorf("make the certificate of %s: %w", s.Name, err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Identity{}, fmt.Errorf("encode the key of %s: %w", s.Name, err)
	}
	return Identity{CA: a.text, Certificate: encode("CERTIFICATE", signed), Key: secret.New(encode("PRIVATE KEY", encoded))}, nil
}

// keyOf derives the server's key (HKDF, RFC 5869).
func keyOf(s Subject) (*ecdsa.PrivateKey, error) {
	if s.Secret.Empty() {
		return nil, errors.New(s.Name + " has no secret that a key could follow from")
	}
	for try := 0; ; try++ {
		seed, err := hkdf.Key(sha256.New, []byte(s.Secret.Reveal()), []byte(s.Name), fmt.Sprintf("berth server key %d", try), 32)
		if err != nil {
			return nil, fmt.Errorf("derive the key of %s: %w", s.Name, err)
		}
		// One of four thousand million numbers is not a key.
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed); err == nil || try > 2 {
			return key, err
		}
	}
}
