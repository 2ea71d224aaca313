// Package sender signs and sends webhooks as Standard Webhooks describes
// (https://www.standardwebhooks.com), and decides which addresses may be called.
// It sends once; when to try again is the domain's business.
package sender

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/webhook"
)

const (
	sendTimeout = 15 * time.Second
	// maxAnswer is how much of an answer is read, so that an endless one costs nothing.
	maxAnswer     = 4 << 10
	lookupTimeout = 2 * time.Second
	maxURLLength  = 2048
)

// Sender implements webhook.Sender.
type Sender struct {
	client       *http.Client
	dialer       *net.Dialer
	allowPrivate bool
	now          clock.Clock
}

// New makes a Sender. Unless allowPrivate, it refuses addresses that are not
// public: it is the name's address at the moment of the connection that counts, so
// a name that changes its mind after the check gains nothing.
func New(allowPrivate bool, now clock.Clock) *Sender {
	s := &Sender{allowPrivate: allowPrivate, now: now}
	s.dialer = &net.Dialer{Timeout: 5 * time.Second, Control: s.control, Resolver: &net.Resolver{}}
	s.client = &http.Client{
		Timeout: sendTimeout,
		Transport: &http.Transport{
			DialContext: s.dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: sendTimeout,
			MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 16 << 10,
			// No proxy: it would be asked to connect to what we refuse to.
		},
		// A redirect is an answer like any other that is not 2xx.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s
}

// Close closes idle connections.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// Send implements webhook.Sender.
func (s *Sender) Send(ctx context.Context, m webhook.Message) (webhook.Answer, error) {
	at := s.now()
	signature, err := sign(m, at)
	if err != nil {
		return webhook.Answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL, bytes.NewReader(m.Body))
	if err != nil {
		return webhook.Answer{}, fmt.Errorf("request: %w", withoutURL(err))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "berth-webhook/1")
	req.Header.Set(standard.HeaderWebhookID, m.ID)
	req.Header.Set(standard.HeaderWebhookTimestamp, fmt.Sprint(at.Unix()))
	req.Header.Set(standard.HeaderWebhookSignature, signature)
	answer, err := s.client.Do(req)
	if err != nil {
		return webhook.Answer{}, withoutURL(err)
	}
	defer answer.Body.Close() //nolint:errcheck // nothing depends on it
	// The status is the answer; a body that breaks off is as good as it is.
	beginning, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	return webhook.Answer{
		Status: answer.StatusCode, Body: string(beginning), RetryAfter: retryAfter(answer.Header.Values("Retry-After"), s.now()),
	}, nil
}

// retryAfter reads a Retry-After: seconds, or a date (RFC 9110, 10.2.3). What is neither,
// or is past, asks for nothing; what is too long to be counted asks for the longest time.
func retryAfter(values []string, now time.Time) time.Duration {
	if len(values) != 1 {
		return 0
	}
	value := strings.TrimSpace(values[0])
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(now))
	}
	if strings.Trim(value, "0123456789") != "" {
		return 0
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	switch {
	case value == "":
		return 0
	case err != nil || seconds > int64(math.MaxInt64/time.Second):
		return math.MaxInt64
	}
	return time.Duration(seconds) * time.Second
}

// sign gives the signatures of the message, one for each secret, separated by spaces.
func sign(m webhook.Message, at time.Time) (string, error) {
	signatures := make([]string, len(m.Secrets))
	for i, secret := range m.Secrets {
		signer, err := standard.NewWebhook(strings.TrimPrefix(secret.Reveal(), "whsec_"))
		if err != nil {
			return "", errors.New("the signing secret cannot be used")
		}
		if signatures[i], err = signer.Sign(m.ID, at, m.Body); err != nil {
			return "", fmt.Errorf("sign: %w", err)
		}
	}
	return strings.Join(signatures, " "), nil
}

// withoutURL drops the address from the error: it may hold a token, and whoever
// reads the error knows it.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

var errForbidden = errors.New("points at an address that is not public (loopback, private, link-local or metadata); set BERTH_CALLBACK_ALLOW_PRIVATE=true to allow that")

// CheckURL implements webhook.Sender. A name that cannot be looked up now is
// accepted: it may be there when it is needed.
func (s *Sender) CheckURL(ctx context.Context, target string) error {
	u, err := url.Parse(target)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return errors.New("must be an http or https URL with a host")
	}
	if len(target) > maxURLLength {
		return fmt.Errorf("must be at most %d characters", maxURLLength)
	}
	if u.User != nil {
		return errors.New("must not contain a user name or password")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errors.New("must have a port from 1 to 65535")
		}
	}
	if numeric(u.Hostname()) {
		return errors.New("must have a host name or a valid IP address as its host")
	}
	if s.allowPrivate {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addresses, err := s.dialer.Resolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil //nolint:nilerr // see above; the connection is checked again
	}
	for _, a := range addresses {
		if !public(a) {
			return errForbidden
		}
	}
	return nil
}

// numeric reports whether a host is one of the old ways to write an IPv4 address
// ("127.1", "0x7f.1", "2130706433"), which some resolvers understand and some do not
// (https://url.spec.whatwg.org/#ends-in-a-number-checker).
func numeric(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	_, err := strconv.ParseUint(labels[len(labels)-1], 0, 64)
	return err == nil
}

// control refuses a connection after the name has become an address.
func (s *Sender) control(_, address string, _ syscall.RawConn) error {
	if s.allowPrivate {
		return nil
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil || !public(to.Addr()) {
		return errForbidden
	}
	return nil
}

// globalIPv6 is what has been given out of IPv6 for unicast at all (IANA IPv6 Global
// Unicast Address Space). Outside lie, among others, addresses that carry an IPv4 one
// (::/96, 64:ff9b::/96).
var globalIPv6 = netip.MustParsePrefix("2000::/3")

// reserved are ranges that are not public and that netip has no word for: shared
// address space (RFC 6598, where some clouds put their metadata), IETF protocol
// assignments, documentation, benchmarks, 6to4 relays, class E, and the IPv6 forms
// that carry an IPv4 address within them.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("3fff::/20"),
}

func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || (a.Is6() && !globalIPv6.Contains(a)) {
		return false
	}
	for _, p := range reserved {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
