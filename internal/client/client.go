// Package client speaks Berth's public HTTP API, the same one that everybody else
// uses. It owns its request and response types, so that it breaks when the API
// breaks, and knows nothing of the server's packages.
//
// Most calls may be repeated: reads and deletes by their nature, creates by their
// Idempotency-Key. For these the client tries again, a bounded number of times,
// whenever an answer was lost or the server asked for patience.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/backoff"
)

const (
	basePath = "/api/v1"
	// answerLimit is far above any answer of Berth's and below what would hurt.
	answerLimit = 16 << 20
	// answerTime is how long one attempt may take, on top of the time that a long
	// poll asked for.
	answerTime = 30 * time.Second
)

// Config says where the API is and how to speak to it. Only URL is required.
type Config struct {
	URL    string       // for example "http://127.0.0.1:8080"; a path before /api/v1 is kept
	APIKey string       // sent as a bearer token; empty: none is sent
	Tenant string       // id of the tenant to act in, for operators; empty: the key's
	HTTP   *http.Client // default: one that follows no redirects
	// Roots vouch for a server by TLS, without HTTP; nil: the system's.
	Roots *x509.CertPool
	Tries int // attempts per call, the first included; default 4

	// Now and Sleep are the clock; tests replace them. Sleep returns the context's
	// error when that ends first.
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
}

// Client is safe for use by several goroutines.
type Client struct {
	base   *url.URL
	key    string
	tenant string
	http   *http.Client
	tries  int
	now    func() time.Time
	sleep  func(ctx context.Context, d time.Duration) error
}

// New checks the configuration; it does not connect.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fmt.Errorf("%q is not the URL of a Berth server: want http://HOST:PORT", cfg.URL)
	}
	if strings.ContainsAny(cfg.APIKey+cfg.Tenant, "\r\n") {
		return nil, errors.New("the API key or the tenant contains a line break")
	}
	c := &Client{base: base, key: cfg.APIKey, tenant: cfg.Tenant, http: cfg.HTTP, tries: cfg.Tries, now: cfg.Now, sleep: cfg.Sleep}
	if c.http == nil {
		c.http = &http.Client{CheckRedirect: refuseRedirect, Transport: transport(cfg.Roots)}
	}
	if c.tries < 1 {
		c.tries = 4
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.sleep == nil {
		c.sleep = backoff.Wait
	}
	return c, nil
}

func transport(roots *x509.CertPool) http.RoundTripper {
	standard, ok := http.DefaultTransport.(*http.Transport)
	if roots == nil || !ok {
		return http.DefaultTransport
	}
	own := standard.Clone()
	own.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return own
}

// refuseRedirect keeps the API key from wandering to another address.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// call is one request of the API, before it is known how often it must be sent.
type call struct {
	method         string
	path           []string // segments below /api/v1, not yet escaped
	query          url.Values
	body           any
	sent           []byte // in the place of body: a file, of this media type
	mediaType      string
	idempotencyKey string
	once           bool          // it must not be sent again, whatever became of it
	patience       time.Duration // how long the server was asked to hold the answer back
}

// do sends the call until it is answered for good and decodes the answer into out.
func (c *Client) do(ctx context.Context, in call, out any) error {
	body := in.sent
	if in.body != nil {
		var err error
		if body, err = json.Marshal(in.body); err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
	}
	for try := 1; ; try++ {
		err := c.attempt(ctx, in, body, out)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause, again := retryAfter(err, try)
		if !again || in.once || try >= c.tries {
			return err
		}
		if err := c.sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// attempt sends the call once.
func (c *Client) attempt(ctx context.Context, in call, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime+in.patience)
	defer cancel()
	req, err := c.request(ctx, in, body)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req) //nolint:gosec // the address is the one the user gave
	if err != nil {
		return &UnreachableError{URL: c.base.Redacted(), Err: err}
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil {
		return &UnreachableError{URL: c.base.Redacted(), Err: err}
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return decodeProblem(res, answer, c.now())
	}
	if res.StatusCode == http.StatusNoContent {
		return nil
	}
	if file, ok := out.(*[]byte); ok {
		*file = answer
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s sent a response that is not from Berth (%s): %w", c.base.Redacted(), res.Status, err)
	}
	return nil
}

func (c *Client) request(ctx context.Context, in call, body []byte) (*http.Request, error) {
	segments := make([]string, len(in.path))
	for i, s := range in.path {
		// "." and ".." would walk up the path; no id or engine is called so.
		if s == "" || s == "." || s == ".." {
			return nil, fmt.Errorf("%q is not an id or the name of an engine", s)
		}
		segments[i] = url.PathEscape(s)
	}
	target := strings.TrimSuffix(c.base.String(), "/") + basePath + "/" + strings.Join(segments, "/")
	if len(in.query) > 0 {
		target += "?" + in.query.Encode()
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, in.method, target, reader)
	if err != nil {
		return nil, fmt.Errorf("build the request: %w", err)
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	req.Header.Set("User-Agent", "berth-cli")
	if body != nil {
		req.Header.Set("Content-Type", cmp.Or(in.mediaType, "application/json"))
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	if c.tenant != "" {
		req.Header.Set("Berth-Tenant", c.tenant)
	}
	if in.idempotencyKey != "" {
		req.Header.Set("Idempotency-Key", in.idempotencyKey)
	}
	return req, nil
}
