package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// maxRateLimit is far above what a process can answer.
const maxRateLimit = 1_000_000

// checkEdge checks the settings of what stands before the API.
func (c *Config) checkEdge(check func(ok bool, name, want string)) {
	check(c.TLSCert != "" || c.TLSKey == "", "TLS_CERT", "must be set, too: the file of the certificate that the key belongs to, in PEM")
	check(c.TLSKey != "" || c.TLSCert == "", "TLS_KEY", "must be set, too: the file of the certificate's private key, in PEM")
	for name, limit := range map[string]int{"RATE_LIMIT": c.RateLimit, "RATE_LIMIT_ADDRESS": c.AddressRateLimit} {
		check(limit >= 0 && limit <= maxRateLimit, name, fmt.Sprintf("must be from 0 (no limit) to %d requests a minute", maxRateLimit))
	}
	c.Proxies = nil
	for _, text := range c.TrustedProxies {
		if text == "" {
			continue
		}
		network, err := parseNetwork(strings.TrimSpace(text))
		check(err == nil, "TRUSTED_PROXIES", fmt.Sprintf("%q is neither an address nor a network such as 10.0.0.0/8", text))
		c.Proxies = append(c.Proxies, network)
	}
}

// parseNetwork reads a network, or an address as the network of it alone.
func parseNetwork(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		address = address.Unmap().WithZone("")
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	return network.Masked(), err
}
