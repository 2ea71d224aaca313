package engine

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

const (
	rsaBits = 2048 // as mysqld's own
	// rsaSpares is how many pairs are kept ready.
	rsaSpares = 4
	// rsaRest is how long nobody must have asked before pairs are made again: making one
	// takes about 40 ms of a core, which those who ask need themselves.
	rsaRest = time.Second
)

// rsaPairs makes the keys with which mysqld takes passwords from clients without TLS. It
// would make one at its first start, which takes a twentieth of a second or three of
// them, by chance. A pair leaves here once.
type rsaPairs struct {
	mu     sync.Mutex
	spares []*rsa.PrivateKey
	refill *time.Timer
}

func (p *rsaPairs) take() (*rsa.PrivateKey, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refill == nil {
		p.refill = time.AfterFunc(rsaRest, p.makeOne)
	}
	p.refill.Reset(rsaRest)
	if n := len(p.spares); n > 0 {
		key := p.spares[n-1]
		p.spares = p.spares[:n-1]
		return key, nil
	}
	p.mu.Unlock()
	defer p.mu.Lock()
	return rsa.GenerateKey(rand.Reader, rsaBits)
}

// makeOne makes a spare pair, and sees to the next one.
func (p *rsaPairs) makeOne() {
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil || len(p.spares) >= rsaSpares {
		return
	}
	if p.spares = append(p.spares, key); len(p.spares) < rsaSpares {
		p.refill.Reset(0)
	}
}

// NewKeys gives the pair as mysqld would write it. start.sh puts it into the data
// directory.
func (e mysqlEngine) NewKeys() ([]host.File, error) {
	key, err := e.keys.take()
	if err != nil {
		return nil, fmt.Errorf("make an RSA key: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the RSA key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("encode the RSA key: %w", err)
	}
	file := func(name, kind string, content []byte) host.File {
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
		return host.File{Path: mysqlHome + "/conf/" + name, Mode: 0o600, Content: secret.New(string(text))}
	}
	return []host.File{file("private_key.pem", "PRIVATE KEY", private), file("public_key.pem", "PUBLIC KEY", public)}, nil
}
