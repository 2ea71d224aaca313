package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// caFile is what ready-made command lines read the authority's certificate from.
const caFile = "ca.pem"

// noticeTLS is for a server that can be used without TLS only.
const noticeTLS = "clients cannot verify the server by the CA that Berth shows; connections without TLS work"

// clientTLS gives the settings of a client that verifies the server, or, where it has no
// certificate of the authority's, of one that takes any.
func clientTLS(inst instance.Instance, cred instance.Credentials) *tls.Config {
	cfg := &tls.Config{ServerName: inst.Status.Address, MinVersion: tls.VersionTLS12}
	if cred.Identity.CA == "" {
		cfg.InsecureSkipVerify = true //nolint:gosec // it proves that the server works, and sends to nobody else
		return cfg
	}
	cfg.RootCAs = x509.NewCertPool()
	cfg.RootCAs.AppendCertsFromPEM([]byte(cred.Identity.CA))
	return cfg
}

// verifying gives the settings of a client that verifies the server; nil: it cannot.
func verifying(inst instance.Instance, cred instance.Credentials) *tls.Config {
	if cred.Identity.CA == "" {
		return nil
	}
	return clientTLS(inst, cred)
}

// certificateFiles gives the server's certificate and key, in its folder for configuration.
func certificateFiles(folder, certificate string, key secret.Secret) []host.File {
	return []host.File{
		{Path: folder + "/server-cert.pem", Mode: 0o440, Content: secret.New(certificate)},
		{Path: folder + "/server-key.pem", Mode: 0o400, Content: key},
	}
}

// misverified reports whether a client could not verify the server.
func misverified(err error) bool {
	var failed *tls.CertificateVerificationError
	var record tls.RecordHeaderError // it does not speak TLS there
	return errors.As(err, &failed) || errors.As(err, &record)
}

// newCertificate fails unless the connection's server has presented the certificate.
func newCertificate(title string, want string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		block, _ := pem.Decode([]byte(want))
		if block == nil || len(state.PeerCertificates) == 0 || string(state.PeerCertificates[0].Raw) != string(block.Bytes) {
			return fault.Errorf(fault.CodeProbeFailed, nil, "%s does not present its new certificate", title)
		}
		return nil
	}
}

// greet makes a connection with TLS and ends it.
func greet(ctx context.Context, address string, cfg *tls.Config) error {
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

func errNoCertificate(inst instance.Instance) error {
	return fault.Errorf(fault.CodeInternal, nil, "instance %s requires TLS and was given no certificate", inst.ID)
}

// tlsConnection gives what is the same for every engine; nil: clients could not verify it.
func tlsConnection(inst instance.Instance, cred instance.Credentials, port int) *instance.TLSConnection {
	if cred.Identity.CA == "" {
		return nil
	}
	return &instance.TLSConnection{CA: cred.Identity.CA, Port: port, Required: inst.Spec.RequireTLS, Until: inst.Status.CertifiedUntil}
}

// address joins the instance's address with one of its ports.
func address(inst instance.Instance, port int) string {
	inst.Status.Port = port
	return hostPort(inst)
}
