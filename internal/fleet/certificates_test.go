package fleet

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

// door is where the engine of a host is reached by TLS, by clients of one authority only.
type door struct {
	Endpoint string
	config   atomic.Pointer[tls.Config]
}

// newDoor opens a door before an engine that listens without TLS.
func newDoor(t *testing.T, a *testenv.Authority, engine string) *door {
	t.Helper()
	d := new(door)
	d.change(t, a)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return d.config.Load(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	d.Endpoint = "tcp://" + l.Addr().String()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go through(c, strings.TrimPrefix(engine, "tcp://"))
		}
	}()
	return d
}

// through joins a connection to the engine, where its client has proven itself.
func through(c net.Conn, engine string) {
	defer c.Close() //nolint:errcheck // it ends here
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.(*tls.Conn).HandshakeContext(ctx); err != nil {
		return
	}
	e, err := new(net.Dialer).DialContext(ctx, "tcp", engine)
	if err != nil {
		return
	}
	defer e.Close() //nolint:errcheck // it ends here
	go func() {
		_, _ = io.Copy(e, c)
		_ = e.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(c, e)
}

// change has the door trust the authority, and be certified by it, from now on.
func (d *door) change(t *testing.T, a *testenv.Authority) {
	t.Helper()
	cert, key := a.Pair(1)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	d.config.Store(&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: a.Roots(), ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12})
}

// certificates are those of a client of the authority, as the API takes them.
func certificates(t *testing.T, a *testenv.Authority) object {
	t.Helper()
	ca, err := os.ReadFile(a.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := a.Pair(2)
	return object{"ca": string(ca), "cert": string(cert), "key": string(key)}
}

// certified works with an engine that is reached by TLS, and replaces its certificates.
func (p *pool) certified(h testenv.FleetHost) {
	one, two := testenv.NewAuthority(p.T), testenv.NewAuthority(p.T)
	d, of := newDoor(p.T, one, h.Endpoint), certificates(p.T, one)
	body := object{"name": "tls-1", "address": h.Address, "endpoint": d.Endpoint, "region": "eu", "zone": "eu-1", "certificates": of}
	id := p.do("POST", "/hosts?skip_init=true", body, 202).below("job").text("id")
	p.succeeded(id, 3*time.Minute)
	inst := p.creates("by-tls", object{"host": "tls-1"})
	p.uses(inst)
	host := p.host("tls-1").text("id")

	d.change(p.T, two)
	p.eventually("the engine refuses the old certificates", time.Minute, func() error { return p.health("tls-1", "unreachable") })
	other := certificates(p.T, two)
	mixed := object{"ca": other["ca"], "cert": other["cert"], "key": of["key"]}
	p.refused("PATCH", "/hosts/"+host, object{"certificates": mixed}, "invalid")
	p.do("PATCH", "/hosts/"+host, object{"certificates": other}, 200)
	p.eventually("the new certificates are used", 2*time.Minute, func() error { return p.health("tls-1", "healthy") })
	p.uses(inst)
	p.nowhere("the key of a certificate", strings.Split(strings.TrimSpace(of.text("key")), "\n")[1], strings.Split(strings.TrimSpace(other.text("key")), "\n")[1])
	p.succeeded(p.do("DELETE", "/storage/redis/instances/"+inst.text("id"), nil, 202).below("job").text("id"), 2*time.Minute)
	p.succeeded(p.do("DELETE", "/hosts/"+host, nil, 202).text("id"), 2*time.Minute)
	p.left(h)
}
