package instancetest

import (
	"context"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// CertificateFile is where a Secure server has its certificate, and KeyFile the key.
const (
	CertificateFile = "/data/certificate"
	KeyFile         = "/data/certificate.key"
)

// Secure is an Engine whose servers have certificates, and a second port for TLS.
type Secure struct{ Engine }

var _ instance.Certified = Secure{}

// Ports is two, or one where TLS is required.
func (Secure) Ports(requireTLS bool) int {
	if requireTLS {
		return 1
	}
	return 2
}

// Workload has the ports and the certificate that the instance has.
func (e Secure) Workload(inst instance.Instance, creds instance.Credentials) (host.Workload, error) {
	w, err := e.Engine.Workload(inst, creds)
	if inst.Status.TLSPort != 0 {
		w.Ports = append(w.Ports, host.PortBinding{Name: EngineName + "-tls", Container: 2})
	}
	if creds.Identity.Certificate != "" {
		w.Files = append(w.Files,
			host.File{Path: CertificateFile, Mode: 0o440, Content: secret.New(creds.Identity.Certificate)},
			host.File{Path: KeyFile, Mode: 0o400, Content: creds.Identity.Key})
	}
	return w, err
}

// Recertify wants the certificate to be in its place.
func (e Secure) Recertify(_ context.Context, inst instance.Instance, creds instance.Credentials) error {
	file, _, _ := e.Runtime.File(host.UnitID(inst.ID), CertificateFile)
	if file.Content.Reveal() != creds.Identity.Certificate {
		return fault.Errorf(fault.CodeProbeFailed, nil, "the certificate is not in place")
	}
	return e.Runtime.Probe(host.UnitID(inst.ID))
}

// Connection shows the authority's certificate.
func (e Secure) Connection(inst instance.Instance, creds instance.Credentials) instance.Connection {
	c := e.Engine.Connection(inst, creds)
	if creds.Identity.CA != "" {
		c.TLS = &instance.TLSConnection{CA: creds.Identity.CA, Port: inst.Status.TLSPort, Required: inst.Spec.RequireTLS, Until: inst.Status.CertifiedUntil}
	}
	return c
}
