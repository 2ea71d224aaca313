package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/berth-project/berth/api"
	"github.com/berth-project/berth/internal/edge"
)

func listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w; set BERTH_HTTP_ADDR to another address", err)
	}
	return l, nil
}

// certificate reads the certificate that the API is served with; nil: it is served without TLS.
func (n *node) certificate() (*edge.Certificate, error) {
	if n.cfg.TLSCert == "" {
		return nil, nil //nolint:nilnil // no certificate is what was asked for
	}
	cert, err := edge.LoadCertificate(n.cfg.TLSCert, n.cfg.TLSKey, n.log)
	if err != nil {
		return nil, fmt.Errorf("BERTH_TLS_CERT, BERTH_TLS_KEY: %w", err)
	}
	return cert, nil
}

// scheme is how the API is reached.
func (n *node) scheme() string {
	if n.cfg.TLSCert != "" {
		return "https"
	}
	return "http"
}

// serveHTTP serves until the context ends, goes on for the drain delay, and then lets
// requests end within the shutdown timeout.
func (n *node) serveHTTP(ctx context.Context, listener net.Listener, cert *edge.Certificate, gate *api.Gate) error {
	server := edge.New(gate, edge.Standard, cert, n.log)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	n.log.InfoContext(ctx, "listening", "address", listener.Addr().String(), "scheme", n.scheme())
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	drain := n.cfg.DrainDelay
	if !gate.IsOpen() {
		drain = 0 // no load balancer has sent anybody yet
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-time.After(drain):
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.ShutdownTimeout)
	defer cancel()
	err := server.Shutdown(stopCtx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
