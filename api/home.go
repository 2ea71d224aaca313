package api

import (
	"bytes"
	_ "embed" // the page
	"html/template"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/berth-project/berth/internal/fault"
)

//go:embed home.html
var homePage string

// home answers who looks at the server's address in a browser: where what is, and how to
// get a key. Programs are answered as everywhere else.
func (s *server) home() echo.HandlerFunc {
	page := template.Must(template.New("home").Parse(homePage))
	policy := "default-src 'none'; img-src data:; style-src" + hashesOf([]byte(homePage), inlineStyle) + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return func(c echo.Context) error {
		r := c.Request()
		c.Response().Header().Add(echo.HeaderVary, echo.HeaderAccept)
		if !wantsPage(r.Header.Values(echo.HeaderAccept)) {
			return newProblem(http.StatusNotFound, fault.CodeNotFound, "there is no "+r.Method+" /; /docs lists all endpoints")
		}
		var text bytes.Buffer
		err := page.Execute(&text, map[string]any{"Queues": s.Queues != nil, "Version": s.Version, "URL": s.proxies.scheme(r) + "://" + r.Host})
		if err != nil {
			return err
		}
		c.Response().Header().Set(echo.HeaderContentSecurityPolicy, policy)
		return c.HTMLBlob(http.StatusOK, text.Bytes())
	}
}

// wantsPage reports whether HTML is asked for by name, and JSON not rather than that.
func wantsPage(accept []string) bool {
	html, json := 0.0, 0.0
	for _, element := range listOf(accept) {
		kind, parameters, _ := strings.Cut(element, ";")
		switch kind = strings.ToLower(strings.TrimSpace(kind)); {
		case kind == echo.MIMETextHTML || kind == "application/xhtml+xml":
			html = max(html, weight(parameters))
		case kind == jsonType || strings.HasSuffix(kind, "+json"):
			json = max(json, weight(parameters))
		}
	}
	return html > json
}
