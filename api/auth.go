package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

// caller is who makes a request.
type caller struct {
	principal tenant.Principal
	// again recognizes the caller once more; nil: they cannot cease to be who they are.
	again  func(context.Context) error
	secure bool // by TLS
	// cookie says that a browser's cookie made them known.
	cookie bool
	// foreign says that a page of another origin made the request.
	foreign bool
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// principalOf returns who makes the request.
func principalOf(ctx context.Context) tenant.Principal { return callerOf(ctx).principal }

// stillRecognized returns nil as long as what the caller showed has not been revoked.
func stillRecognized(ctx context.Context) error {
	if again := callerOf(ctx).again; again != nil {
		return again(ctx)
	}
	return nil
}

// recheckEvery is how often a request that goes on asks whether its caller is still
// recognized. What was read of a key is good for half a second: together less than one.
const recheckEvery = 250 * time.Millisecond

// watchCaller calls cancel once the caller is not recognized any more. It ends with ctx, and
// then closes the channel.
func watchCaller(ctx context.Context, cancel context.CancelFunc) <-chan struct{} {
	done := make(chan struct{})
	if callerOf(ctx).again == nil {
		close(done)
		return done
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(recheckEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if isUnauthorized(stillRecognized(ctx)) {
				cancel()
				return
			}
		}
	}()
	return done
}

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

const needKey = "an API key or a session is required: send `Authorization: Bearer KEY`; `berth dev` keeps its key in .berth/admin.key"

// open reports whether a path needs no key: documentation, and the queues' pages and the
// profiles, which browserLogin guards.
func open(path string) bool {
	switch path {
	case "/docs", QueuesPath:
		return true
	}
	return strings.HasPrefix(path, "/docs/") || strings.HasPrefix(path, "/openapi") || strings.HasPrefix(path, QueuesPath+"/") || isProfile(path)
}

// tenantHeader names the tenant that a request of an operator is about, or of a user who is a
// member of several.
const tenantHeader = "Berth-Tenant"

// authenticate guards everything that is not open, whether there is an operation
// behind the path or not, before a body is read.
func (s *server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if isHealthCheck(r) {
			return next(c)
		}
		welcome := echo.GetPath(r) == "/" && r.Method == http.MethodGet && wantsPage(r.Header.Values(echo.HeaderAccept))
		if welcome || open(echo.GetPath(r)) || r.Method == http.MethodOptions {
			if !guarded(echo.GetPath(r)) {
				if err := s.countAddress(c); err != nil {
					return s.fail(err)
				}
			}
			return next(c)
		}
		who, err := s.counted(c, shown(r), func() (caller, error) { return s.caller(c) })
		if isUnauthorized(err) {
			c.Response().Header().Set(echo.HeaderWWWAuthenticate, askForKey)
		}
		if err != nil {
			return s.fail(err)
		}
		// From here on the store gives and takes only what is this tenant's; a caller whom the
		// operation need not know has none.
		ctx := tenant.Within(r.Context(), who.principal.Tenant)
		c.SetRequest(r.WithContext(context.WithValue(ctx, callerKey{}, who)))
		err = next(c)
		s.noteRefusal(c, who.principal, err)
		return err
	}
}

const askForKey = `Bearer realm="berth"`

// caller returns who makes the request: by the header Authorization, and where there is none
// by the cookie of a session.
func (s *server) caller(c echo.Context) (caller, error) {
	r := c.Request()
	nobody := caller{principal: tenant.Principal{From: s.origin(c)}, secure: s.proxies.overTLS(r), foreign: s.origins.own.Check(r) != nil}
	header, about := r.Header.Get(echo.HeaderAuthorization), r.Header.Get(tenantHeader)
	token, byCookie := bearer(header), header == "" && cookieOf(r) != ""
	if byCookie {
		token = cookieOf(r)
	}
	if s.anybodyMay(c) {
		if !s.origins.mayCome(r) {
			return caller{}, errForeignPage
		}
		if token == "" || byCookie && nobody.foreign || c.Path() != usersPath { // nothing else there asks who it is
			return nobody, nil
		}
	}
	if byCookie && nobody.foreign {
		return caller{}, errForeignPage
	}
	who, err := caller{}, error(tenant.Unauthorized("the cookie is no session's; log in again"))
	if !byCookie || tenant.IsSession(token) {
		who, err = s.recognize(r.Context(), token, about)
	}
	if isUnauthorized(err) && byCookie && s.anybodyMay(c) {
		return nobody, nil
	}
	who.principal.From, who.secure, who.foreign, who.cookie = nobody.principal.From, nobody.secure, nobody.foreign, byCookie
	return who, err
}

// recognize returns whose key or session it is, as one who acts in the tenant that the request
// is about; empty: their own.
func (s *server) recognize(ctx context.Context, token, about string) (who caller, err error) {
	switch {
	case token == "":
		return caller{}, tenant.Unauthorized(needKey)
	case s.rightKey(token):
		who.principal = tenant.Principal{Tenant: tenant.Default, Role: tenant.Owner, Operator: true, Name: "the admin key"}
	case tenant.IsSession(token):
		return s.bySession(ctx, token, about)
	default:
		if who.principal, err = s.Callers.ByKey(ctx, token); err != nil {
			return caller{}, err
		}
		who.again = func(ctx context.Context) error {
			_, err := s.Callers.ByKey(ctx, token)
			return err
		}
	}
	if about != "" {
		who.principal, err = s.Tenants.In(ctx, who.principal, tenant.ID(about))
	}
	return who, err
}

// bySession is recognize for the token of a session. What goes on under it ends when the
// session does, and when the user is no longer in the tenant what they were.
func (s *server) bySession(ctx context.Context, token, about string) (caller, error) {
	in := func(ctx context.Context, p tenant.Principal, err error) (tenant.Principal, error) {
		if err != nil || about == "" {
			return p, err
		}
		return s.Tenants.In(ctx, p, tenant.ID(about))
	}
	p, err := s.Callers.BySession(ctx, token)
	if p, err = in(ctx, p, err); err != nil {
		return caller{}, err
	}
	return caller{principal: p, again: func(ctx context.Context) error {
		now, err := s.Callers.StillBySession(ctx, token)
		now, err = in(ctx, now, err)
		if err == nil && (now.Tenant != p.Tenant || now.Role != p.Role || now.Operator != p.Operator) || fault.CodeOf(err) == fault.CodeNotFound {
			return tenant.Unauthorized("what the user may do in the tenant has changed; send the request again")
		}
		return err
	}}, nil
}

func isUnauthorized(err error) bool { return fault.CodeOf(err) == fault.CodeUnauthorized }

// browserLogin guards pages for operators: a browser asks its user for a name, which does not
// matter, and a password, which is the admin key or the key of an operator.
func (s *server) browserLogin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		_, key, ok := r.BasicAuth()
		if !ok {
			key = bearer(r.Header.Get(echo.HeaderAuthorization))
		}
		who, err := s.counted(c, key, func() (caller, error) { return s.recognize(r.Context(), key, "") })
		if err == nil {
			err = who.principal.May(tenant.Operate)
		}
		switch {
		case isUnauthorized(err):
			c.Response().Header().Set(echo.HeaderWWWAuthenticate, `Basic realm="berth: any user name, the admin key as password", charset="UTF-8"`)
			return s.fail(err)
		case err != nil:
			return s.fail(err)
		}
		if isRead := r.Method == http.MethodGet || r.Method == http.MethodHead; !isRead && !isProfile(r.URL.Path) {
			who.principal.From = s.origin(c)
			if err := s.Audit.Note(r.Context(), who.principal, tenant.Deed{Action: tenant.ActQueuesChange, Detail: r.Method + " " + withoutKeys(r.URL.Path)}); err != nil {
				return s.fail(err)
			}
		}
		return next(c)
	}
}
