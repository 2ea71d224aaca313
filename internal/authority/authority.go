// Package authority owns the certificate authority of a deployment, which vouches for its
// servers: it is made once, its key is sealed, and what it certifies are addresses that clients
// reach servers at. It must not know what the servers are for.
package authority

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/secret"
)

// Store keeps the authority.
type Store interface {
	// Authority returns it, or CodeNotFound.
	Authority(context.Context) (Record, error)
	// InsertAuthority writes it; CodeConflict: there is one.
	InsertAuthority(context.Context, Record) error
	// ReplaceAuthority puts another in its place; CodeConflict: it is not that any more.
	ReplaceAuthority(ctx context.Context, before, after Record) error
}

// Record is an authority as it is stored.
type Record struct {
	Deployment  string        // whose it is
	Certificate string        // PEM
	Key         secret.Sealed // PKCS #8
	CreatedAt   time.Time
}

// Place binds the sealed key to its deployment.
func Place(deployment string) string { return "authority/" + deployment }

// Authority certifies servers.
type Authority struct {
	certificate *x509.Certificate
	text        string
	key         *ecdsa.PrivateKey
	now         clock.Clock
}

// Config is what an Authority needs.
type Config struct {
	Store      Store
	Vault      secret.Vault
	Deployment string
	// Lost are the ids of master keys that are lost for good. An authority whose key needs one
	// of them is replaced: servers that it has certified cannot be verified any more.
	Lost []string
	Now  clock.Clock
}

const (
	// lifetime is how long an authority is good.
	lifetime = 20 * 365 * 24 * time.Hour
	// skew is by how much a client's clock may be late.
	skew = time.Hour
)

// Open reads the deployment's authority, and makes it where there is none. Of several
// processes that do so at once, one makes it and all get the same.
func Open(ctx context.Context, cfg Config) (*Authority, error) {
	for {
		record, err := cfg.Store.Authority(ctx)
		put := cfg.Store.InsertAuthority
		switch {
		case err == nil && !slices.Contains(cfg.Lost, secret.MasterKeyOf(record.Key.KeyID)):
			return read(cfg, record)
		case err == nil:
			if a, err := read(cfg, record); err == nil {
				return a, nil // it is not lost
			}
			lost := record
			put = func(ctx context.Context, r Record) error { return cfg.Store.ReplaceAuthority(ctx, lost, r) }
		case !errors.Is(err, fault.ErrNotFound):
			return nil, fmt.Errorf("the certificate authority: %w", err)
		}
		if record, err = fresh(cfg); err != nil {
			return nil, err
		}
		if err := put(ctx, record); !errors.Is(err, fault.ErrConflict) { // or another process was faster
			if err != nil {
				return nil, fmt.Errorf("write the certificate authority: %w", err)
			}
			return read(cfg, record)
		}
	}
}

func fresh(cfg Config) (Record, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Record{}, err
	}
	now := cfg.Now()
	template := x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: "Berth " + cfg.Deployment},
		NotBefore:    now.Add(-skew), NotAfter: now.Add(lifetime),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return Record{}, fmt.Errorf("make the certificate authority: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Record{}, fmt.Errorf("encode the authority's key: %w", err)
	}
	sealed, err := cfg.Vault.Seal(encoded, Place(cfg.Deployment))
	return Record{Deployment: cfg.Deployment, Certificate: encode("CERTIFICATE", signed), Key: sealed, CreatedAt: now}, err
}

func read(cfg Config, r Record) (*Authority, error) {
	block, _ := pem.Decode([]byte(r.Certificate))
	if block == nil {
		return nil, errors.New("the certificate of the authority in the database is none")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the authority's certificate: %w", err)
	}
	plain, err := cfg.Vault.Open(r.Key, Place(cfg.Deployment))
	if err != nil {
		return nil, fmt.Errorf("open the authority's key: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, fmt.Errorf("read the authority's key: %w", err)
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || !private.PublicKey.Equal(certificate.PublicKey) {
		return nil, errors.New("the key of the authority in the database is not that of its certificate")
	}
	return &Authority{certificate: certificate, text: r.Certificate, key: private, now: cfg.Now}, nil
}

// Certificate gives the authority's certificate, in PEM, which clients verify servers by.
func (a *Authority) Certificate() string { return a.text }

// serial gives a serial number of 128 random bits.
func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails: it ends the program first
	b[0] &= 0x7f        // positive, in 16 bytes
	return new(big.Int).SetBytes(b)
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
