package testenv

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy stands between a test and a server, so that the server can be taken away
// and given back.
type Proxy struct {
	server string
	addr   string // stays the same
	mu     sync.Mutex
	l      net.Listener
	open   map[net.Conn]bool
	all    sync.WaitGroup
}

// NewProxy gives the same URL by way of a Proxy. It ends with the test.
func NewProxy(t testing.TB, serverURL string) (string, *Proxy) {
	t.Helper()
	u, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{server: u.Host, addr: FreeAddress(t), open: map[net.Conn]bool{}}
	p.Restore(t)
	t.Cleanup(p.Cut)
	u.Host = p.addr
	return u.String(), p
}

// Cut ends every connection and takes no more.
func (p *Proxy) Cut() {
	p.mu.Lock()
	if p.l != nil {
		_ = p.l.Close()
		p.l = nil
	}
	for c := range p.open {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.all.Wait()
}

// Restore takes connections again, at the same address.
func (p *Proxy) Restore(t testing.TB) {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(context.WithoutCancel(t.Context()), "tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.l, p.addr = l, l.Addr().String()
	p.all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			p.all.Go(func() { p.join(l, in) })
		}
	})
}

// join carries bytes both ways until one end is gone.
func (p *Proxy) join(l net.Listener, in net.Conn) {
	defer p.drop(in)
	if !p.keep(l, in) {
		return
	}
	var dialer net.Dialer
	out, err := dialer.DialContext(context.Background(), "tcp", p.server)
	if err != nil {
		return
	}
	defer p.drop(out)
	if !p.keep(l, out) {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(out, in)
		_ = out.Close()
	}()
	_, _ = io.Copy(in, out)
	_ = in.Close()
	<-done
}

// keep notes the connection for Cut, unless that has come already.
func (p *Proxy) keep(l net.Listener, c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[c] = true
	return p.l == l
}

func (p *Proxy) drop(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}
