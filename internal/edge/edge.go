// Package edge owns what stands between the network and a handler: the limits of a connection,
// and TLS. It must not know what is served.
package edge

import (
	"context"
	"crypto/tls"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

// Limits are what a connection may cost. Handlers that need longer, such as those of streams and
// of slow uploads, move the deadlines of their own request.
type Limits struct {
	// Header is how long the TLS handshake, and the header of a request, may take.
	Header time.Duration
	// Read is for a request as a whole. It also ends the wait of a long poll: net/http watches
	// the connection under it while a handler runs.
	Read time.Duration
	// Write is from the end of the header to the end of the answer.
	Write time.Duration
	// Idle is between two requests of a connection.
	Idle time.Duration
	// HeaderBytes is the size of a request's header, which gets 431 beyond it.
	HeaderBytes int
}

// Standard are the limits of the API: an answer may take as long as the longest long poll.
var Standard = Limits{Header: 10 * time.Second, Read: 75 * time.Second, Write: 90 * time.Second, Idle: 2 * time.Minute, HeaderBytes: 64 << 10}

// Server serves a handler within limits.
type Server struct {
	http *http.Server
	cert *Certificate
}

// New makes a server. With a certificate it speaks TLS, 1.2 or newer, and HTTP/2.
func New(handler http.Handler, limits Limits, cert *Certificate, logger *slog.Logger) *Server {
	s := &Server{cert: cert, http: &http.Server{
		Handler: handler, ReadHeaderTimeout: limits.Header, ReadTimeout: limits.Read, WriteTimeout: limits.Write, IdleTimeout: limits.Idle,
		MaxHeaderBytes: limits.HeaderBytes, ErrorLog: log.New(complaints{logger}, "", 0),
	}}
	if cert != nil {
		s.http.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.Get}
	}
	return s
}

// Serve serves until Shutdown or Close, and then returns http.ErrServerClosed.
func (s *Server) Serve(listener net.Listener) error {
	if s.cert == nil {
		return s.http.Serve(listener)
	}
	return s.http.ServeTLS(listener, "", "") // the configuration has the certificate
}

// Shutdown takes no more connections, and waits for the requests that run.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }

// Close ends everything at once.
func (s *Server) Close() error { return s.http.Close() }

// complaints are what net/http has to say, in the log's form.
type complaints struct{ log *slog.Logger }

// Write implements io.Writer. Failed handshakes are what any stranger can bring about.
func (c complaints) Write(text []byte) (int, error) {
	said := strings.TrimSpace(string(text))
	if strings.HasPrefix(said, "http: TLS handshake error") {
		c.log.Debug("a TLS handshake failed", "error", said)
	} else {
		c.log.Warn("the HTTP server complains", "error", said)
	}
	return len(text), nil
}
