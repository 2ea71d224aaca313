package engine

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"testing/synctest"
	"time"
)

// TestRSAPairs has some asked for at once, and some when spares have been made: nobody
// gets what another one got, and spares are made only when nobody asks.
func TestRSAPairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &rsaPairs{}
		spares := func() int {
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.spares)
		}
		seen := map[string]bool{}
		take := func() {
			t.Helper()
			key, err := p.take()
			if err != nil || key.N.BitLen() != rsaBits || seen[key.N.String()] {
				t.Fatalf("a pair that another one has, or of %d bits: %v", key.N.BitLen(), err)
			}
			seen[key.N.String()] = true
		}
		take()
		<-time.After(rsaRest / 2)
		take()
		<-time.After(rsaRest / 2)
		if n := spares(); n != 0 {
			t.Errorf("%d spares while they are asked for", n)
		}
		<-time.After(rsaRest)
		if n := spares(); n != rsaSpares {
			t.Errorf("%d spares, want %d", n, rsaSpares)
		}
		for range rsaSpares + 1 {
			take()
		}
		if n := spares(); n != 0 {
			t.Errorf("%d spares are left", n)
		}
		<-time.After(2 * rsaRest)
		if n := spares(); n != rsaSpares {
			t.Errorf("%d spares again, want %d", n, rsaSpares)
		}
	})
}

// TestNewKeys reads the files as mysqld does.
func TestNewKeys(t *testing.T) {
	files, err := newMySQL("", false).NewKeys()
	if err != nil || len(files) != 2 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	read := func(i int, kind string) []byte {
		block, rest := pem.Decode([]byte(files[i].Content.Reveal()))
		if block == nil || block.Type != kind || len(rest) > 0 {
			t.Fatalf("%s is not one %s", files[i].Path, kind)
		}
		return block.Bytes
	}
	private, err := x509.ParsePKCS8PrivateKey(read(0, "PRIVATE KEY"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.ParsePKIXPublicKey(read(1, "PUBLIC KEY"))
	if err != nil || !private.(*rsa.PrivateKey).PublicKey.Equal(public) {
		t.Errorf("they are not a pair: %v", err)
	}
}
