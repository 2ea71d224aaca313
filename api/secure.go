package api

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

const (
	// strictTransport has browsers come by TLS for a year (RFC 6797). Subdomains are not Berth's.
	strictTransport       = "max-age=31536000"
	strictTransportHeader = echo.HeaderStrictTransportSecurity
	// plainPolicy is for answers that are no pages: a browser that shows one loads nothing for it.
	plainPolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// secureHeaders keeps browsers from guessing, framing, telling and remembering. Pages have
// policies of their own, with the same frame-ancestors.
func (s *server) secureHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		safeHeaders(h)
		if s.proxies.overTLS(c.Request()) {
			h.Set(strictTransportHeader, strictTransport)
		}
		return next(c)
	}
}

func safeHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for browsers that do not know frame-ancestors
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store") // answers hold passwords
	h.Set(echo.HeaderContentSecurityPolicy, plainPolicy)
}

// limitBody bounds the body of every request, whatever it is for.
func limitBody(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ContentLength > maxBody {
			return tooLarge()
		}
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(c.Response(), r.Body, hugeBody)
		}
		return next(c)
	}
}
