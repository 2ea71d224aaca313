// Package api is the HTTP front: routes, the types that clients see, the error
// table, the OpenAPI document. A handler decodes, calls one use case and encodes;
// it knows no rules.
package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/requestid"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Config is what the API needs.
type Config struct {
	Service  *instance.Service
	AdminKey secret.Secret
	// Callers recognizes everybody but the admin key.
	Callers  *tenant.Authenticator
	Tenants  *tenant.Tenants
	Keys     *tenant.Keys
	Accounts *tenant.Accounts
	Members  *tenant.Members
	Quotas   *tenant.Quotas
	Grants   *tenant.Grants
	// Hosts is the pool; nil: there is nothing to ask of it here. Sheets reads the files that hosts
	// are imported from.
	Hosts  *host.Service
	Sheets Sheets
	Audit  *audit.Log
	// Checks are the parts that must work for the API to be ready, by the name that
	// /readyz shows.
	Checks map[string]func(context.Context) error
	// Queues serves the queues' web UI below QueuesPath; nil: there is none.
	Queues      http.Handler
	Log         *slog.Logger
	Version     string
	Gzip        bool
	CORSOrigins []string
	// TrustedProxies are the networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are
	// believed.
	TrustedProxies []netip.Prefix
	Limits         RateLimits
	// Stopping ends when the server is to stop: long polls are then answered at once,
	// streams end, /readyz says 503, and every answer asks for its connection to be closed.
	Stopping context.Context //nolint:containedctx // a signal, not a request's context
	// Heartbeat is after how long an event stream on which nothing happens says that it
	// is alive; zero: 15 s.
	Heartbeat time.Duration
}

// QueuesPath is where the queues' web UI is.
const QueuesPath = "/queues"

const (
	maxBody  = 1 << 20
	basePath = "/api/v1"
)

// server has what the handlers share.
type server struct {
	Config
	document   *huma.OpenAPI
	inFlight   sync.Map // Idempotency keys whose first request is still running
	origins    origins
	proxies    *proxies
	recognized recognized
	anybody    map[string]bool // operations that need no key, as "POST /path"
}

// New makes the handler of everything that the API serves.
func New(cfg Config) http.Handler { return named(answerHead(decodePath(newServer(cfg).echo()))) }

func newServer(cfg Config) *server {
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = defaultHeartbeat
	}
	cfg.Log = requestid.Logger(cfg.Log)
	return &server{Config: cfg, origins: newOrigins(cfg.CORSOrigins), proxies: newProxies(cfg.TrustedProxies, cfg.Log), anybody: map[string]bool{}}
}

var humaOnce sync.Once // huma keeps these settings in package variables

func (s *server) echo() *echo.Echo {
	humaOnce.Do(func() {
		huma.NewError, huma.NewErrorWithContext, huma.ValidateStrictCasing = humaError, humaErrorOf, true
		huma.DefaultArrayNullable = false // a list of ours is empty, never null
	})
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = s.echoError
	e.IPExtractor = s.proxies.clientAddress
	e.Use(s.logRequests, middleware.Recover(), s.secureHeaders, allowHead, s.sendAway, plainEncoding)
	if s.Gzip {
		e.Use(compress())
	}
	if len(s.CORSOrigins) > 0 {
		e.Use(middleware.CORSWithConfig(middleware.CORSConfig{
			AllowOrigins: s.CORSOrigins,
			AllowHeaders: []string{
				echo.HeaderAuthorization, echo.HeaderContentType, idempotencyHeader, echo.HeaderXRequestID,
				tenantHeader, "Last-Event-ID", "Cache-Control", // what EventSource sends, and those who stand in for it with a key
			},
			ExposeHeaders: []string{
				echo.HeaderLocation, echo.HeaderRetryAfter, echo.HeaderXRequestID, echo.HeaderWWWAuthenticate, echo.HeaderAllow, replayedHeader, lastEventHeader, rateLimitHeader, ratePolicyHeader,
			},
			MaxAge: 3600,
		}))
	}
	e.Use(s.authenticate, limitBody, readableQuery)
	e.GET("/healthz", s.health)
	e.GET("/readyz", s.ready)
	e.GET("/", s.home())
	e.GET("/docs", func(c echo.Context) error { return c.Redirect(http.StatusFound, docsPath) })
	e.GET(docsPath+"*", docs())
	if s.Queues != nil {
		queues := s.queues()
		e.Any(QueuesPath, queues, s.browserLogin)
		e.Any(QueuesPath+"/*", queues, s.browserLogin)
	}
	s.profileRoutes(e)
	operations := humaecho.New(e, s.humaConfig())
	operations.UseMiddleware(s.intake)
	s.routes(operations)
	s.document = operations.OpenAPI()
	document(s.document)
	s.collectAnybody()
	documentRoutes(e, s.document)
	e.GET(eventSocketPath, s.eventSocket)
	return e
}

func (s *server) humaConfig() huma.Config {
	c := huma.DefaultConfig("Berth", s.Version)
	c.Info, c.Tags = documentInfo(s.Version), documentTags
	c.Servers = []*huma.Server{{URL: "/", Description: "The server that serves this document"}}
	c.DocsPath = ""     // ours is served from the binary
	c.SchemasPath = ""  // the document has them all
	c.CreateHooks = nil // no $schema field in every answer
	c.Transformers = []huma.Transformer{s.explain}
	c.OpenAPIPath = "" // documentRoutes serves it
	// What `curl -d` says it sends when nobody tells it otherwise.
	c.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat, "application/x-www-form-urlencoded": huma.DefaultJSONFormat}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"api_key": {Type: "http", Scheme: "bearer", Description: "an API key, or the token of a session; browsers have the cookie " + sessionCookie + " instead"},
	}
	c.Security = []map[string][]string{{"api_key": {}}}
	return c
}

func (s *server) routes(h huma.API) {
	s.engineRoutes(h)
	s.instanceRoutes(h)
	s.jobRoutes(h)
	s.webhookRoutes(h)
	s.deliveryRoutes(h)
	s.eventRoutes(h)
	s.tenantRoutes(h)
	s.grantRoutes(h)
	s.keyRoutes(h)
	s.quotaRoutes(h)
	s.userRoutes(h)
	s.sessionRoutes(h)
	s.passwordRoutes(h)
	s.memberRoutes(h)
	s.invitationRoutes(h)
	s.auditRoutes(h)
	s.hostRoutes(h)
}

// health says that the process is alive.
func (s *server) health(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}

// sendAway has clients take another connection, to another server, once this one is to
// stop: closing their idle ones would lose a request that is on its way.
func (s *server) sendAway(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if s.Stopping.Err() != nil {
			c.Response().Header().Set("Connection", "close")
		}
		return next(c)
	}
}

// readableQuery refuses a query that is not encoded as one, parts of which would be lost
// without a word, or that is no text: a database may not take it for one.
func readableQuery(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		query, err := url.ParseQuery(c.Request().URL.RawQuery)
		if err != nil {
			return newProblem(http.StatusBadRequest, httpCodes[http.StatusBadRequest], "the query string is malformed: "+err.Error())
		}
		for name, values := range query {
			if !utf8.ValidString(name + strings.Join(values, "")) {
				return newProblem(http.StatusBadRequest, httpCodes[http.StatusBadRequest], "the query string is not UTF-8")
			}
		}
		return next(c)
	}
}

// logRequests logs each request, without what may hold a secret: query, headers,
// body.
func (s *server) logRequests(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		begun := time.Now()
		if err := next(c); err != nil {
			c.Error(err)
		}
		level := slog.LevelDebug
		method := methodOf(c.Request())
		if method != http.MethodGet && method != http.MethodHead {
			level = slog.LevelInfo
		}
		s.Log.Log(c.Request().Context(), level, "request", "method", method, "path", withoutKeys(c.Request().URL.Path),
			"status", c.Response().Status, "took", time.Since(begun).Round(time.Microsecond).String(), "address", c.RealIP())
		return nil
	}
}

// withoutKeys masks API keys and other tokens in a path: somebody may put one where an id belongs.
func withoutKeys(path string) string {
	if !strings.Contains(path, tenant.TokenPrefix) {
		return path
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if tenant.IsToken(s) {
			segments[i] = secret.Redacted
		}
	}
	return strings.Join(segments, "/")
}

// fail turns an error of the domain into huma's.
func (s *server) fail(err error) error { return problemOf(err) }

// jobPath gives the address of a job.
func jobPath(id id.Job) string { return fmt.Sprintf("%s/jobs/%s", basePath, id) }
