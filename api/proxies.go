package api

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/berth-project/berth/internal/requestid"
	"github.com/berth-project/berth/internal/tenant"
)

// proxies says who clients are. What a proxy reports of them is believed where its address is
// one that the operator trusts, and of nobody else.
type proxies struct {
	trusted []netip.Prefix
	extract echo.IPExtractor
	log     *slog.Logger
	warned  sync.Once
}

func newProxies(trusted []netip.Prefix, log *slog.Logger) *proxies {
	options := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, prefix := range trusted {
		bits := prefix.Addr().BitLen()
		options = append(options, echo.TrustIPRange(&net.IPNet{IP: prefix.Masked().Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), bits)}))
	}
	return &proxies{trusted: trusted, extract: echo.ExtractIPFromXFFHeader(options...), log: log}
}

// clientAddress returns where a request comes from: the peer's address, and where that is a
// trusted proxy the right-most address of X-Forwarded-For that is none.
func (p *proxies) clientAddress(r *http.Request) string {
	if !p.trusts(r) {
		p.warn(r)
		return peerOf(r)
	}
	return p.extract(r)
}

// overTLS reports whether the client speaks TLS, with Berth or with a trusted proxy.
func (p *proxies) overTLS(r *http.Request) bool {
	return r.TLS != nil || p.trusts(r) && strings.EqualFold(r.Header.Get(echo.HeaderXForwardedProto), "https")
}

// scheme returns how the client has reached Berth.
func (p *proxies) scheme(r *http.Request) string {
	if p.overTLS(r) {
		return "https"
	}
	return "http"
}

// trusts reports whether the peer is a trusted proxy.
func (p *proxies) trusts(r *http.Request) bool {
	if len(p.trusted) == 0 {
		return false
	}
	peer, err := netip.ParseAddr(peerOf(r))
	if err != nil {
		return false
	}
	peer = peer.Unmap().WithZone("")
	for _, prefix := range p.trusted {
		if prefix.Contains(peer) {
			return true
		}
	}
	return false
}

// warn says once that somebody reports clients who is not trusted to.
func (p *proxies) warn(r *http.Request) {
	if r.Header.Get(echo.HeaderXForwardedFor) == "" && r.Header.Get(echo.HeaderXForwardedProto) == "" {
		return
	}
	p.warned.Do(func() {
		p.log.WarnContext(r.Context(), "headers of a proxy are ignored; if the peer is yours, name it in BERTH_TRUSTED_PROXIES", "peer", peerOf(r))
	})
}

// peerOf returns the address of who has connected.
func peerOf(r *http.Request) string {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return address
}

// origin returns where a request comes from, for the record.
func (s *server) origin(c echo.Context) tenant.Origin {
	r := c.Request()
	return tenant.Origin{Address: s.proxies.clientAddress(r), Request: requestid.Of(r.Context())}
}
