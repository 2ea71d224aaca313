package api

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/ttl"
)

// RateLimits bound how many requests a minute are answered. A nil one does not.
type RateLimits struct {
	// Callers counts the requests of each key, of each user, and of the admin key.
	Callers tenant.RateLimiter
	// Addresses counts the requests of each address whose caller is not known: without a key,
	// with a wrong one, and the first ones with a good one.
	Addresses tenant.RateLimiter
}

// The names of the limits in the headers RateLimit and RateLimit-Policy.
const (
	callerPolicy  = "caller"
	addressPolicy = "address"
)

// The headers of draft-ietf-httpapi-ratelimit-headers, which are structured fields (RFC 9651).
const (
	rateLimitHeader  = "RateLimit"        // "NAME";r=LEFT;t=SECONDS
	ratePolicyHeader = "RateLimit-Policy" // "NAME";q=LIMIT;w=60
)

// recognizedFor is how long a token that was recognized need not be counted for its address.
const recognizedFor = 10 * time.Minute

// recognized remembers tokens, by their hashes, that were good a while ago.
type recognized struct{ hashes ttl.Map[string, struct{}] }

func (r *recognized) has(token string) bool {
	_, ok := r.hashes.Get(tenant.HashToken(token), clock.System())
	return ok
}

func (r *recognized) put(token string) {
	r.hashes.Put(tenant.HashToken(token), struct{}{}, clock.System(), recognizedFor)
}

func (r *recognized) forget(token string) { r.hashes.Delete(tenant.HashToken(token)) }

// counted recognizes a caller within the rate limits. A token that this process does not know as
// a good one is counted for its address before it is looked at, so that guesses that are beyond
// the limit learn nothing. The others are not held up by who guesses at their address.
func (s *server) counted(c echo.Context, token string, recognize func() (caller, error)) (caller, error) {
	if s.Limits == (RateLimits{}) {
		return recognize()
	}
	fresh := token == "" || !s.recognized.has(token)
	if fresh {
		if err := s.countAddress(c); err != nil {
			return caller{}, err
		}
	}
	who, err := recognize()
	code := fault.CodeOf(err)
	switch {
	case err == nil && who.principal.Name != "":
		if fresh {
			s.recognized.put(token)
		}
		return who, s.count(c, s.Limits.Callers, callerPolicy, rateName(who.principal))
	case code == fault.CodeUnauthorized:
		s.recognized.forget(token)
	case err != nil && code != fault.CodeForbidden && code != fault.CodeNotFound: // it is not the caller's doing
		return who, err
	}
	if !fresh {
		if tooMany := s.countAddress(c); tooMany != nil {
			return caller{}, tooMany
		}
	}
	return who, err
}

// countAddress counts a request for the address that it comes from.
func (s *server) countAddress(c echo.Context) error {
	return s.count(c, s.Limits.Addresses, addressPolicy, tenant.Network(s.proxies.clientAddress(c.Request())))
}

// rateName returns whose requests are counted together: those of a key, and those of all
// sessions of a user.
func rateName(p tenant.Principal) string {
	switch {
	case p.Key != "":
		return string(p.Key)
	case p.User != "":
		return string(p.User)
	}
	return "admin"
}

// count takes one request of a limit, says in the answer's header what is left, and refuses what
// is beyond.
func (s *server) count(c echo.Context, limiter tenant.RateLimiter, policy, name string) error {
	if limiter == nil {
		return nil
	}
	a := limiter.Take(c.Request().Context(), name)
	if a.Limit == 0 {
		return nil
	}
	header := c.Response().Header()
	header.Set(ratePolicyHeader, fmt.Sprintf("%q;q=%d;w=60", policy, a.Limit))
	header.Set(rateLimitHeader, fmt.Sprintf("%q;r=%d;t=%d", policy, a.Left, wholeSeconds(a.Reset)))
	if a.Wait == 0 {
		return nil
	}
	of := map[string]string{callerPolicy: "this key or user", addressPolicy: "this address without a valid key"}[policy]
	return &fault.Error{
		Code: fault.CodeTooManyRequests, RetryAfter: a.Wait,
		Message: fmt.Sprintf("too many requests of %s: %d a minute are answered; try again in %d s", of, a.Limit, wholeSeconds(a.Wait)),
	}
}

// wholeSeconds rounds up: who waits that long has waited long enough.
func wholeSeconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// shown returns the token that a request shows, in whichever way; empty: none. It decides on
// what a request is counted for, and on nothing else.
func shown(r *http.Request) string {
	if header := r.Header.Get(echo.HeaderAuthorization); header != "" {
		if _, password, ok := r.BasicAuth(); ok {
			return password
		}
		return bearer(header)
	}
	return cookieOf(r)
}

// guarded reports whether a path has browserLogin, which counts requests by itself.
func guarded(path string) bool {
	return path == QueuesPath || strings.HasPrefix(path, QueuesPath+"/") || isProfile(path)
}
