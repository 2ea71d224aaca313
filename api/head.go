package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
)

type headKey struct{}

// isHead reports whether only the headers of an answer are wanted.
func isHead(ctx context.Context) bool {
	head, _ := ctx.Value(headKey{}).(bool)
	return head
}

// methodOf gives the method that a request was sent with.
func methodOf(r *http.Request) string {
	if isHead(r.Context()) {
		return http.MethodHead
	}
	return r.Method
}

// answerHead answers HEAD wherever there is a GET: with its status and headers, and
// without its body (RFC 9110, 9.3.2).
func answerHead(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), headKey{}, true))
		r.Method = http.MethodGet
		only := &headWriter{to: w}
		next.ServeHTTP(only, r)
		only.finish()
	})
}

// headWriter counts a body instead of sending it. It passes on nothing else of the
// connection: a HEAD is never hijacked, and nothing of it is sent early.
type headWriter struct {
	to     http.ResponseWriter
	status int
	length int
}

// Header implements http.ResponseWriter.
func (h *headWriter) Header() http.Header { return h.to.Header() }

// WriteHeader implements http.ResponseWriter.
func (h *headWriter) WriteHeader(status int) {
	if h.status == 0 && status >= http.StatusOK {
		h.status = status
	}
}

// Write implements http.ResponseWriter.
func (h *headWriter) Write(p []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	h.length += len(p)
	return len(p), nil
}

// Flush implements http.Flusher, which some handlers insist on.
func (h *headWriter) Flush() { h.WriteHeader(http.StatusOK) }

func (h *headWriter) finish() {
	if h.status == 0 {
		h.status = http.StatusOK
	}
	if h.length > 0 && h.Header().Get(echo.HeaderContentLength) == "" {
		h.Header().Set(echo.HeaderContentLength, strconv.Itoa(h.length))
	}
	h.to.WriteHeader(h.status)
}

// allowHead names HEAD in Allow, of which the router does not know.
func allowHead(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Before(func() {
			header := c.Response().Header()
			methods := listOf([]string{header.Get(echo.HeaderAllow)})
			for i, method := range methods {
				if method == http.MethodGet {
					header.Set(echo.HeaderAllow, strings.Join(append(methods[:i+1:i+1], append([]string{http.MethodHead}, methods[i+1:]...)...), ", "))
					return
				}
			}
		})
		return next(c)
	}
}
