package host

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/secret"
)

// SecretName says what a secret of a host is.
type SecretName string

// The secrets. The password is there until the first login has worked, or the job has ended.
const (
	secretPassword SecretName = "password"
	secretTLS      SecretName = "tls"
	secretKey      SecretName = "ssh_key" // of the deployment, for all hosts
)

// everyHost is where the secrets are that are for all hosts.
const everyHost ID = "pool"

// SecretPlace binds a sealed secret to its host.
func SecretPlace(of ID, name SecretName) string { return "host/" + string(of) + "/" + string(name) }

// SecretPlaceOf is SecretPlace by the id of the secret's row.
func SecretPlaceOf(id string) string { return "host/" + id }

// Certificates are what a client proves itself by to an engine that is reached by TCP, as PEM.
type Certificates struct {
	CA, Cert string
	Key      secret.Secret
}

// given reports whether there are any.
func (c Certificates) given() bool { return c.CA != "" || c.Cert != "" || !c.Key.Empty() }

// Check says what is wrong with certificates; empty: nothing. It does not name the key.
func (c Certificates) Check() string {
	_, err := c.Client("")
	var wrong *fault.Error
	if errors.As(err, &wrong) {
		return wrong.Message
	}
	return ""
}

// Client gives what a TLS client needs that connects to the engine of the name.
func (c Certificates) Client(name string) (*tls.Config, error) {
	pair, err := tls.X509KeyPair([]byte(c.Cert), []byte(c.Key.Reveal()))
	if err != nil {
		return nil, fault.Errorf(fault.CodeHostUnavailable, nil, "must have a cert and a key that go together, as PEM") // the cause may quote the key
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(c.CA)) {
		return nil, fault.Errorf(fault.CodeHostUnavailable, nil, "must have a ca, as PEM")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12}, nil
}

// openCertificates is Certificates with the key in the open; it exists while they are sealed and
// opened only.
type openCertificates struct {
	CA   string `json:"ca"`
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

func (c Certificates) open() openCertificates { return openCertificates{c.CA, c.Cert, c.Key.Reveal()} }

// Access gives what hosts are reached with.
type Access struct {
	Store Store
	Vault secret.Vault
	// Machines makes the deployment's key when it is first needed; nil: there is none to make.
	Machines Machines
	// Deployment is named in the key's comment.
	Deployment string
}

// deploymentKey is the key pair of the deployment.
type deploymentKey struct {
	Private    string `json:"private"`
	Authorized string `json:"authorized"`
}

// Key gives the deployment's key pair: the private key, and the line of authorized_keys. Whoever
// needs it first makes it.
func (a *Access) Key(ctx context.Context) (private secret.Secret, authorized string, err error) {
	var k deploymentKey
	err = a.open(ctx, everyHost, secretKey, &k)
	if err == nil || !errors.Is(err, fault.ErrNotFound) || a.Machines == nil {
		return secret.New(k.Private), k.Authorized, err
	}
	made, line, err := a.Machines.NewKey("berth " + a.Deployment)
	if err != nil {
		return secret.Secret{}, "", err
	}
	sealed, err := a.seal(everyHost, secretKey, deploymentKey{made.Reveal(), line})
	if err != nil {
		return secret.Secret{}, "", err
	}
	err = a.Store.Tx(ctx, func(tx Tx) error { return tx.InsertHostSecret(everyHost, secretKey, sealed) })
	if err != nil && !errors.Is(err, fault.ErrConflict) { // else somebody else has made one meanwhile
		return secret.Secret{}, "", err
	}
	err = a.open(ctx, everyHost, secretKey, &k)
	return secret.New(k.Private), k.Authorized, err
}

// Login gives how Berth logs in to the host's machine.
func (a *Access) Login(ctx context.Context, h Host) (Login, error) {
	l, err := sshLogin(h)
	if err != nil {
		return Login{}, err
	}
	if l.HostKey == "" {
		return Login{}, fault.Errorf(fault.CodeHostUnavailable, nil, "host %s: no key of its machine is known; import it", h.Name)
	}
	l.Key, _, err = a.Key(ctx)
	return l, err
}

// sshLogin reads the endpoint of a host that is reached by SSH.
func sshLogin(h Host) (Login, error) {
	u, err := url.Parse(h.Endpoint)
	if err != nil || u.Scheme != "ssh" || u.Hostname() == "" || u.User == nil {
		return Login{}, fault.Errorf(fault.CodeHostUnavailable, nil, "host %s: %q is not ssh://USER@ADDRESS[:PORT]", h.Name, h.Endpoint)
	}
	port := u.Port()
	if port == "" {
		port = "22"
	}
	return Login{Address: net.JoinHostPort(u.Hostname(), port), User: u.User.Username(), HostKey: h.HostKey}, nil
}

// Certificates gives what proves Berth to the host's engine; CodeNotFound: nothing does.
func (a *Access) Certificates(ctx context.Context, h Host) (Certificates, error) {
	var c openCertificates
	if err := a.open(ctx, h.ID, secretTLS, &c); err != nil {
		return Certificates{}, err
	}
	return Certificates{c.CA, c.Cert, secret.New(c.Key)}, nil
}

// password gives the password of the first login; empty: there is none.
func (a *Access) password(ctx context.Context, h Host) (secret.Secret, error) {
	var p string
	err := a.open(ctx, h.ID, secretPassword, &p)
	return secret.New(p), fault.IgnoreNotFound(err)
}

func (a *Access) open(ctx context.Context, of ID, name SecretName, into any) error {
	sealed, err := a.Store.HostSecret(ctx, of, name)
	if err != nil {
		return err
	}
	plain, err := a.Vault.Open(sealed, SecretPlace(of, name))
	if err != nil {
		return fmt.Errorf("open the secret %s of %s: %w", name, of, err)
	}
	return json.Unmarshal(plain, into)
}

func (a *Access) seal(of ID, name SecretName, value any) (secret.Sealed, error) {
	return sealSecret(a.Vault, of, name, value)
}

func sealSecret(v secret.Vault, of ID, name SecretName, value any) (secret.Sealed, error) {
	plain, err := json.Marshal(value)
	if err != nil {
		return secret.Sealed{}, err
	}
	return v.Seal(plain, SecretPlace(of, name))
}
