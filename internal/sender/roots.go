package sender

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
)

// Roots gives the certificates that receivers may be vouched for by: the system's, and
// those of a PEM file, as a company's own authority has them.
func Roots(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the operator names it
	if err != nil {
		return nil, fmt.Errorf("%w; it must be a PEM file with the CA certificates to trust", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil { // a system without any
		pool = x509.NewCertPool()
	}
	found := false
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s holds a %s; want certificates (BEGIN CERTIFICATE) only", file, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s holds a certificate that cannot be read: %w", file, err)
		}
		pool.AddCert(cert)
		found = true
	}
	if !found {
		return nil, fmt.Errorf("%s: %w", file, errNoCertificate(text))
	}
	return pool, nil
}

func errNoCertificate(text []byte) error {
	switch _, err := x509.ParseCertificate(text); {
	case err == nil:
		return errors.New("a certificate in DER; convert it: openssl x509 -inform der -in FILE -out FILE.pem")
	case len(bytes.TrimSpace(text)) == 0:
		return errors.New("is empty; want certificates in PEM (BEGIN CERTIFICATE)")
	}
	return errors.New("holds no certificate; want PEM (BEGIN CERTIFICATE)")
}

// Trust has receivers be vouched for by these certificates. It is called before anything
// is sent.
func (s *Sender) Trust(roots *x509.CertPool) {
	if transport, ok := s.client.Transport.(*http.Transport); ok {
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
}
