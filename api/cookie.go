package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

// sessionCookie holds the token of a browser's session.
const sessionCookie = "berth_session"

// cookieOf returns the token of the session that a browser shows; empty: none. What is in the
// cookie is recognized or not; a log-in never takes it over.
func cookieOf(r *http.Request) string {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return ""
	}
	return cookie.Value
}

// setCookie returns the header that gives a browser a session, and without a token takes it.
func setCookie(who caller, token string, until time.Time) string {
	cookie := http.Cookie{ //nolint:gosec // it is Secure where the browser speaks TLS; berth dev does not
		Name: sessionCookie, Value: token, Path: "/", HttpOnly: true, Secure: who.secure, SameSite: http.SameSiteLaxMode, Expires: until,
	}
	if token == "" {
		cookie.Expires, cookie.MaxAge = time.Time{}, -1
	}
	return cookie.String()
}

// origins tells requests of the own pages from those of others' (Sec-Fetch-Site, Origin).
// Programs send neither, and pass.
type origins struct {
	own     *http.CrossOriginProtection
	allowed *http.CrossOriginProtection // own pages, and those of BERTH_HTTP_CORS_ORIGINS
	any     bool                        // BERTH_HTTP_CORS_ORIGINS has *
}

func newOrigins(cors []string) origins {
	o := origins{http.NewCrossOriginProtection(), http.NewCrossOriginProtection(), slices.Contains(cors, "*")}
	for _, origin := range cors {
		_ = o.allowed.AddTrustedOrigin(origin) // what is no origin is nobody's
	}
	return o
}

// mayCome reports whether a request that needs no key may come from its page.
func (o origins) mayCome(r *http.Request) bool { return o.any || o.allowed.Check(r) == nil }

var errForeignPage = fault.Errorf(fault.CodeForbidden, nil,
	"the request was made by a page of another site, which may not use the session of the browser; programs send the token as `Authorization: Bearer TOKEN`")

// anybodyMay reports whether a request may come without a key, by what its operation declares.
func (s *server) anybodyMay(c echo.Context) bool {
	return s.anybody[c.Request().Method+" "+c.Path()]
}

// collectAnybody finds the operations that callers need not be known for.
func (s *server) collectAnybody() {
	for path, item := range s.document.Paths {
		for _, op := range operationsOf(item) {
			if rightOf(op) == tenant.Anybody {
				s.anybody[op.Method+" "+path] = true // none has a parameter in its path
			}
		}
	}
}
