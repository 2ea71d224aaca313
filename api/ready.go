package api

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/berth-project/berth/internal/fault"
)

// checkTimeout bounds what /readyz waits for its parts.
const checkTimeout = 2 * time.Second

// readiness is what /readyz answers.
type readiness struct {
	Status string            `json:"status"`
	Parts  map[string]string `json:"parts"`
	// Reasons says of each part that is down why, and what to do about it.
	Reasons map[string]string `json:"reasons,omitempty"`
}

// ready asks every part, all at once, and says which are down and why.
func (s *server) ready(c echo.Context) error {
	if s.Stopping.Err() != nil {
		return c.JSON(http.StatusServiceUnavailable, map[string]string{"status": "stopping"})
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), checkTimeout)
	defer cancel()
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		answer = readiness{Status: "ready", Parts: map[string]string{}, Reasons: map[string]string{}}
	)
	for name, check := range s.Checks {
		wg.Go(func() {
			err := check(ctx)
			mu.Lock()
			defer mu.Unlock()
			answer.Parts[name] = "ok"
			if err != nil {
				answer.Status, answer.Parts[name], answer.Reasons[name] = "unavailable", "down", reasonOf(err)
				s.Log.WarnContext(ctx, "not ready", "part", name, "error", err)
			}
		})
	}
	wg.Wait()
	if len(answer.Reasons) > 0 {
		c.Response().Header().Set("Retry-After", "2")
		return c.JSON(http.StatusServiceUnavailable, answer)
	}
	return c.JSON(http.StatusOK, answer)
}

// reasonOf gives the words of an error that anybody may read: those of the domain, which
// hold no secret. Of any other it says no more than that there is one.
func reasonOf(err error) string {
	var known *fault.Error
	if errors.As(err, &known) && known.Message != "" {
		return known.Message
	}
	return "it does not respond; the server's log has the details"
}
