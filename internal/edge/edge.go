// Package edge owns what stands between the network and a handler: the limits of a connection,
// and TLS. It must not know what is served.
package edge

import (
	"context"
	"crypto/tls"
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
func New(handler http.Handler, limits Limits, cert *Certificate, log *slog.Logger) *Server {
	s := &Server{cert: cert, http: &http.Server{
		Handler: handler, ReadHeaderTimeout: limits.Header, ReadTimeout: limits.Read, WriteTimeout: limits.Write, IdleTimeout: limits.Idle,
		MaxHeaderBytes: limits.HeaderBytes, ErrorLog: slog.NewLogLogger(quiet{log.Handler()}, slog.LevelWarn),
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

// quiet is the log of net/http, without what any stranger can have it write.
type quiet struct{ to slog.Handler }

// Enabled implements slog.Handler.
func (q quiet) Enabled(ctx context.Context, level slog.Level) bool { return q.to.Enabled(ctx, level) }

// Handle implements slog.Handler.
func (q quiet) Handle(ctx context.Context, line slog.Record) error {
	if strings.HasPrefix(line.Message, "http: TLS handshake error") {
		if !q.to.Enabled(ctx, slog.LevelDebug) {
			return nil
		}
		line.Level = slog.LevelDebug
	}
	about := slog.NewRecord(line.Time, line.Level, "the HTTP server complains", line.PC)
	about.AddAttrs(slog.String("error", line.Message))
	return q.to.Handle(ctx, about)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.to.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.to.WithGroup(name)} }
