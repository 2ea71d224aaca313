// Package redisserver runs a Redis inside the process, for `berth dev`. It keeps
// nothing: whatever it forgets, the database knows.
package redisserver

import (
	"context"
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// Server is a running server.
type Server struct {
	mini  *miniredis.Miniredis
	url   string
	begun time.Time
	peak  atomic.Uint64 // the most memory that was seen
}

// Start starts a server on a free loopback port, which only the password opens.
func Start(password string) (*Server, error) {
	mini := miniredis.NewMiniRedis()
	mini.RequireAuth(password)
	if err := mini.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start embedded Redis: %w", err)
	}
	u := url.URL{Scheme: "redis", User: url.UserPassword("", password), Host: mini.Addr(), Path: "/0"}
	return &Server{mini: mini, url: u.String(), begun: time.Now()}, nil
}

// URL is how to connect.
func (s *Server) URL() string { return s.url }

// Run lets keys expire until the context ends, and then stops the server: miniredis
// leaves time to whoever runs it.
func (s *Server) Run(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	defer s.mini.Close()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			s.mini.FastForward(now.Sub(last))
			last = now
		}
	}
}
