package api

import (
	"bytes"
	"net/http"
	"regexp"
	"strings"

	"github.com/labstack/echo/v4"
)

// queues serves the queues' pages to operators. Nothing of theirs comes from elsewhere:
// what they would like to have of others, fonts of Google's, is taken out of the pages, and
// the policy forbids it.
func (s *server) queues() echo.HandlerFunc {
	pages := http.NewCrossOriginProtection().Handler(s.Queues)
	return func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderContentSecurityPolicy,
			"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		r := c.Request()
		if r.Method != http.MethodGet || strings.HasPrefix(r.URL.Path, QueuesPath+"/api/") || strings.HasPrefix(r.URL.Path, QueuesPath+"/static/") {
			pages.ServeHTTP(c.Response(), r)
			return nil
		}
		made := &pageBuffer{header: c.Response().Header(), status: http.StatusOK}
		pages.ServeHTTP(made, r)
		page := made.Bytes()
		if bytes.HasPrefix(bytes.ToLower(bytes.TrimSpace(page)), []byte("<!doctype html")) {
			page = foreignLink.ReplaceAll(page, nil)
			made.header.Set(echo.HeaderContentType, echo.MIMETextHTMLCharsetUTF8)
			made.header.Del(echo.HeaderContentLength)
		}
		c.Response().WriteHeader(made.status)
		_, err := c.Response().Write(page)
		return err
	}
}

// foreignLink matches what a page wants of another host while it is loaded.
var foreignLink = regexp.MustCompile(`(?i)<link\b[^>]*\bhref="(?:https?:)?//[^"]*"[^>]*>`)
