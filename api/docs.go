package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/swaggest/swgui/v5emb"
)

const docsPath = "/docs/"

// docs serves Swagger UI from the binary. Its page is the same for everybody, so it is
// made once, and the policy names the scripts that are written in it by their hashes.
func docs() echo.HandlerFunc {
	ui := v5emb.New("Berth API", "/openapi.json", docsPath)
	made := &pageBuffer{header: http.Header{}}
	ui.ServeHTTP(made, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: docsPath}})
	page := made.Bytes()
	// Swagger UI writes styles into its elements, and shows pictures of its own as data.
	policy := "default-src 'none'; connect-src 'self'; img-src 'self' data:; font-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self'" +
		hashesOf(page, inlineScript) + "; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	return func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderContentSecurityPolicy, policy)
		if c.Request().URL.Path == docsPath {
			return c.Blob(http.StatusOK, echo.MIMETextHTMLCharsetUTF8, page)
		}
		ui.ServeHTTP(c.Response(), c.Request())
		return nil
	}
}

// isDocsFile reports whether a path is of what the page of the documentation is made of,
// which is compressed already.
func isDocsFile(path string) bool { return path != docsPath && strings.HasPrefix(path, docsPath) }

var (
	inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
	inlineStyle  = regexp.MustCompile(`(?s)<style>(.*?)</style>`)
)

// hashesOf gives what of a page's own a policy is to allow, each behind a space
// (https://www.w3.org/TR/CSP3/#grammardef-hash-source).
func hashesOf(page []byte, inline *regexp.Regexp) string {
	var all strings.Builder
	for _, found := range inline.FindAllSubmatch(page, -1) {
		sum := sha256.Sum256(found[1])
		all.WriteString(" 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'")
	}
	return all.String()
}

// pageBuffer keeps what a handler writes.
type pageBuffer struct {
	bytes.Buffer
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (p *pageBuffer) Header() http.Header { return p.header }

// WriteHeader implements http.ResponseWriter.
func (p *pageBuffer) WriteHeader(status int) { p.status = status }
