package tenant

import (
	"context"
	"net/netip"
	"time"
)

// RateLimiter counts requests by who makes them, in all processes together.
type RateLimiter interface {
	// Take counts one request of the caller, unless they have none left. It never fails, and
	// waits for a moment at most: where nothing can be counted, requests pass.
	Take(ctx context.Context, caller string) Allowance
}

// Allowance is what a caller has left of a rate limit.
type Allowance struct {
	// Limit is how many requests a minute the caller may make, all of them at once if they wish.
	// Zero: requests are not limited, or cannot be counted now, and the rest says nothing.
	Limit int
	// Left is how many they may still make, and Reset is after how long it is Limit again.
	Left  int
	Reset time.Duration
	// Wait is after how long a refused request may be sent again; zero: it is not refused.
	Wait time.Duration
}

// Network returns what somebody on the internet has one of: an address, and of IPv6 a /64.
func Network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if a = a.Unmap().WithZone(""); a.Is4() {
		return a.String()
	}
	prefix, _ := a.Prefix(64) // which an address of IPv6 has
	return prefix.String()
}
