package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/berth-project/berth/internal/tenant"
)

type principalKey struct{}

// principalOf returns who makes the request.
func principalOf(ctx context.Context) tenant.Principal {
	p, _ := ctx.Value(principalKey{}).(tenant.Principal)
	return p
}

// tenantOf returns whose things the request is about.
func tenantOf(ctx context.Context) tenant.ID { return principalOf(ctx).Tenant }

// rightKey compares in constant time; hashing first makes the lengths equal.
func (s *server) rightKey(given string) bool {
	want, got := sha256.Sum256([]byte(s.AdminKey.Reveal())), sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && !s.AdminKey.Empty()
}

func bearer(header string) string {
	scheme, key, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(key)
}

const needKey = "an API key is required: send `Authorization: Bearer KEY`; `berth dev` keeps its key in .berth/admin.key"

func unauthorized() *problem { return newProblem(http.StatusUnauthorized, "unauthorized", needKey) }

// open reports whether a path needs no key: health and documentation, and the
// queues' pages and the profiles, which browserLogin guards.
func open(path string) bool {
	switch path {
	case "/healthz", "/readyz", "/docs", QueuesPath:
		return true
	}
	return strings.HasPrefix(path, "/docs/") || strings.HasPrefix(path, "/openapi") || strings.HasPrefix(path, QueuesPath+"/") || isProfile(path)
}

// authenticate guards everything that is not open, whether there is an operation
// behind the path or not, before a body is read.
func (s *server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		welcome := echo.GetPath(r) == "/" && r.Method == http.MethodGet && wantsPage(r.Header.Values(echo.HeaderAccept))
		if welcome || open(echo.GetPath(r)) || r.Method == http.MethodOptions {
			return next(c)
		}
		if !s.rightKey(bearer(c.Request().Header.Get(echo.HeaderAuthorization))) {
			c.Response().Header().Set(echo.HeaderWWWAuthenticate, `Bearer realm="berth"`)
			return unauthorized()
		}
		// One admin key for now, and so one tenant.
		caller := tenant.Principal{Tenant: tenant.Default, Name: "the admin key"}
		ctx := context.WithValue(c.Request().Context(), principalKey{}, caller)
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c)
	}
}

// browserLogin guards pages: a browser asks its user for a name, which does not
// matter, and a password, which is the admin key.
func (s *server) browserLogin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		_, password, _ := c.Request().BasicAuth()
		if !s.rightKey(password) && !s.rightKey(bearer(c.Request().Header.Get(echo.HeaderAuthorization))) {
			c.Response().Header().Set(echo.HeaderWWWAuthenticate, `Basic realm="berth: any user name, the admin key as password", charset="UTF-8"`)
			return unauthorized()
		}
		return next(c)
	}
}
