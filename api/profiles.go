package api

import (
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/labstack/echo/v4"
)

// profilesPath is where net/http/pprof has its pages; it knows no other place.
const profilesPath = "/debug/pprof"

// profilePolicy allows the styles that are written in the list of profiles.
const profilePolicy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func isProfile(path string) bool {
	return path == profilesPath || strings.HasPrefix(path, profilesPath+"/")
}

// profileRoutes serves the profiles of this process to operators. A profile tells what
// the process does and how it was started, so the guard is the one of the queues' pages.
func (s *server) profileRoutes(e *echo.Echo) {
	mux := http.NewServeMux()
	mux.HandleFunc(profilesPath+"/", pprof.Index)
	mux.HandleFunc(profilesPath+"/cmdline", pprof.Cmdline)
	mux.HandleFunc(profilesPath+"/profile", pprof.Profile)
	mux.HandleFunc(profilesPath+"/symbol", pprof.Symbol)
	mux.HandleFunc(profilesPath+"/trace", pprof.Trace)
	pages := func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderContentSecurityPolicy, profilePolicy)
		mux.ServeHTTP(c.Response(), c.Request())
		return nil
	}
	e.GET(profilesPath, func(c echo.Context) error { return c.Redirect(http.StatusFound, profilesPath+"/") }, s.browserLogin)
	e.Match([]string{http.MethodGet, http.MethodPost}, profilesPath+"/*", pages, s.browserLogin) // `go tool pprof` posts addresses to /symbol
}
