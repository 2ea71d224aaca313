package sender

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// forbidden are addresses that no callback may go to, and why.
var forbidden = map[string]string{
	"127.0.0.1": "loopback", "127.255.255.254": "loopback", "::1": "loopback",
	"0.0.0.0": "this host", "0.1.2.3": "this network", "::": "this host",
	"10.0.0.1": "private", "172.16.0.1": "private", "172.31.255.255": "private", "192.168.1.1": "private", "fc00::1": "private", "fd12:3456::1": "private",
	"169.254.0.1": "link-local", "fe80::1": "link-local", "fec0::1": "site-local",
	"169.254.169.254": "metadata", "fd00:ec2::254": "metadata of AWS", "100.100.100.200": "metadata of Alibaba", "192.0.0.192": "metadata of Oracle", "fd20:ce::254": "metadata of Google",
	"100.64.0.1": "shared (CGNAT)", "100.127.255.255": "shared (CGNAT)",
	"::ffff:127.0.0.1": "IPv4-mapped", "::ffff:10.0.0.1": "IPv4-mapped", "::ffff:169.254.169.254": "IPv4-mapped", "::ffff:7f00:1": "IPv4-mapped",
	"::127.0.0.1": "IPv4-compatible", "::a9fe:a9fe": "IPv4-compatible", "::ffff:0:127.0.0.1": "IPv4-translated",
	"64:ff9b::7f00:1": "NAT64", "64:ff9b::a9fe:a9fe": "NAT64", "64:ff9b:1::1": "local NAT64", "2002:7f00:1::": "6to4", "2001::1": "Teredo",
	"224.0.0.1": "multicast", "239.1.2.3": "multicast", "ff02::1": "multicast", "255.255.255.255": "broadcast", "240.0.0.1": "class E",
	"192.0.2.1": "documentation", "198.51.100.1": "documentation", "203.0.113.1": "documentation", "2001:db8::1": "documentation", "3fff::1": "documentation",
	"198.18.0.1": "benchmarking", "100::1": "discard", "5f00::1": "segment routing", "4000::1": "given to nobody",
}

var allowed = []string{"1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8"}

func hostOf(address string) string {
	if strings.Contains(address, ":") {
		return "[" + address + "]"
	}
	return address
}

func TestCheckURLAddress(t *testing.T) {
	s := newSender(t, false, timer)
	for address, why := range forbidden {
		for _, target := range []string{"http://" + hostOf(address) + "/hook", "https://" + hostOf(address) + ":8443/"} {
			if err := s.CheckURL(t.Context(), target); !errors.Is(err, errForbidden) {
				t.Errorf("%s (%s): %v", target, why, err)
			}
			if err := newSender(t, true, timer).CheckURL(t.Context(), target); err != nil {
				t.Errorf("%s where private ones are allowed: %v", target, err)
			}
		}
	}
	for _, address := range allowed {
		if err := s.CheckURL(t.Context(), "https://"+hostOf(address)+"/hook"); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, target := range []string{"http://localhost:9/", "http://LOCALHOST/", "http://[fe80::1%25lo]/"} {
		if err := s.CheckURL(t.Context(), target); !errors.Is(err, errForbidden) {
			t.Errorf("%s: %v", target, err)
		}
	}
}

// TestDialAddress is what a name meets that has another address after the check
// (DNS rebinding): the address of the connection is looked at, whatever the name.
func TestDialAddress(t *testing.T) {
	s := newSender(t, false, timer)
	for address, why := range forbidden {
		if err := s.control("tcp", netip.AddrPortFrom(netip.MustParseAddr(address), 443).String(), nil); !errors.Is(err, errForbidden) {
			t.Errorf("%s (%s): %v", address, why, err)
		}
	}
	for _, address := range allowed {
		if err := s.control("tcp", netip.AddrPortFrom(netip.MustParseAddr(address), 443).String(), nil); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"", "nonsense", "localhost:80", "[fe80::1%lo]:80"} {
		if err := s.control("tcp", address, nil); !errors.Is(err, errForbidden) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// TestSendIsCheckedToo goes past CheckURL, as a rebound name would.
func TestSendIsCheckedToo(t *testing.T) {
	var reached atomic.Int32
	target := receive(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	port := target[strings.LastIndex(target, ":"):]
	for _, name := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.0.0.2"} {
		_, err := send(t.Context(), newSender(t, false, timer), "http://"+name+port, "evt_1", []byte("{}"), whsec)
		if !errors.Is(err, errForbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if reached.Load() != 0 {
		t.Errorf("it was reached %d times", reached.Load())
	}
	if s := newSender(t, false, timer); s.client.Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy would connect to what we refuse to")
	}
}

func TestCheckURLForm(t *testing.T) {
	s := newSender(t, true, timer)
	for target, want := range map[string]string{
		"": "http or https", "example.com/hook": "http or https", "//example.com": "http or https", "ftp://example.com": "http or https", "file:///etc/passwd": "http or https",
		"http://": "http or https", "http:///hook": "http or https", "https://:8080/": "http or https", "http://exa mple.com": "http or https", "http://[::1": "http or https", "javascript:alert(1)": "http or https",
		"unix:///var/run/docker.sock": "http or https", "http://a\nb/": "http or https",
		"https://user@example.com/": "user name or password", "https://user:topsecret@example.com/": "user name or password",
		"https://example.com/" + strings.Repeat("x", maxURLLength): "at most 2048",
	} {
		if err := s.CheckURL(t.Context(), target); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%q: got %v, want %q", target, err, want)
		}
	}
	for _, target := range []string{"http://example.com", "HTTPS://EXAMPLE.com:8443/hook?a=b#c", "https://bücher.example/", "https://example.com/" + strings.Repeat("x", maxURLLength-20)} {
		if err := s.CheckURL(t.Context(), target); err != nil {
			t.Errorf("%q: %v", target, err)
		}
	}
}

// TestUnknownName has a name that cannot be looked up now: it is taken, and soon.
func TestUnknownName(t *testing.T) {
	t.Parallel()
	began := time.Now()
	s := newSender(t, false, timer)
	if err := s.CheckURL(t.Context(), "https://no-such-name.invalid/hook"); err != nil {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 5*lookupTimeout {
		t.Errorf("it took %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := send(ctx, s, "https://no-such-name.invalid/hook", "evt_1", nil, whsec); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
