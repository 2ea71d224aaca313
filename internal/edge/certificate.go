package edge

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// lookEvery is how often the files of a certificate are looked at.
const lookEvery = 2 * time.Second

// Certificate is a server's certificate, which follows its files: a pair that replaces them is
// used for the next connection, and those that are open go on.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	pair              atomic.Pointer[tls.Certificate]
	// What the files held: in use, seen at the last look, and refused for good. Only Look uses them.
	used, seen, refused state
}

// state tells contents of the two files apart, and reasons why they cannot be read.
type state [sha256.Size]byte

// LoadCertificate reads a certificate, with those of the authorities in between behind it, and
// its private key, both in PEM.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	pair, now, err := c.read()
	if err != nil {
		return nil, err
	}
	c.use(pair, now)
	return c, nil
}

// Get returns the certificate as it is now (tls.Config.GetCertificate).
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil }

// Run looks at the files until the context ends.
func (c *Certificate) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.Look(ctx)
		}
	}
}

// Look takes over what is in the files now. A pair that is none leaves the old one in use, and is
// logged once, unless the next look finds it mended: who replaces two files does so one after
// the other.
func (c *Certificate) Look(ctx context.Context) {
	pair, now, err := c.read()
	before := c.seen
	c.seen = now
	switch {
	case now == c.used:
		c.refused = state{}
	case now == c.refused:
	case err == nil:
		c.use(pair, now)
		c.log.InfoContext(ctx, "TLS certificate reloaded", "file", c.certFile, "names", pair.Leaf.DNSNames, "expires", pair.Leaf.NotAfter)
	case now == before:
		c.refused = now
		c.log.ErrorContext(ctx, "the TLS certificate was not reloaded; the old one stays in use", "error", err, "expires", c.pair.Load().Leaf.NotAfter)
	}
}

func (c *Certificate) use(pair *tls.Certificate, now state) {
	c.pair.Store(pair)
	c.used, c.seen, c.refused = now, now, state{}
}

// read gives the pair that the files hold. Nothing of the key is in the error.
func (c *Certificate) read() (*tls.Certificate, state, error) {
	cert, err1 := os.ReadFile(c.certFile)
	key, err2 := os.ReadFile(c.keyFile)
	if err := errors.Join(err1, err2); err != nil {
		return nil, sha256.Sum256([]byte(err.Error())), err
	}
	certSum, keySum := sha256.Sum256(cert), sha256.Sum256(key)
	now := state(sha256.Sum256(append(certSum[:], keySum[:]...)))
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, now, fmt.Errorf("%s and %s are no pair of certificate and key in PEM: %w", c.certFile, c.keyFile, err)
	}
	return &pair, now, nil
}
