package testenv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
)

// link is a network namespace and the pair of interfaces that leads to it.
type link struct {
	namespace string
	outside   string // the name of the interface on our side
	inside    netip.Addr
}

// links are the networks to choose from: as many /30s as 10.213.0.0/16 has.
const links = 1 << 14

// newLink makes the namespace and the link. The interface is named after its network,
// so that two tests at once cannot take the same one.
func newLink(ctx context.Context, namespace string) (link, error) {
	l := link{namespace: namespace}
	if _, err := run(ctx, "ip", "netns", "add", namespace); err != nil {
		return l, err
	}
	for range 50 {
		n := rand.IntN(links)
		base := netip.AddrFrom4([4]byte{10, 213, byte(n >> 6), byte(n << 2)})
		if taken, err := inUse(netip.PrefixFrom(base, 30)); err != nil || taken {
			if err != nil {
				return l, err
			}
			continue
		}
		l.outside = fmt.Sprintf("berth-%d", n)
		_, err := run(ctx, "ip", "link", "add", l.outside, "type", "veth", "peer", "name", "eth0", "netns", namespace)
		if err != nil && strings.Contains(err.Error(), "File exists") {
			continue
		}
		if err != nil {
			return l, err
		}
		l.inside = base.Next().Next()
		return l, l.up(ctx, base.Next())
	}
	return l, errors.New("every network that was tried is in use")
}

// up gives both ends their addresses and switches them on.
func (l *link) up(ctx context.Context, outside netip.Addr) error {
	for _, args := range [][]string{
		{"address", "add", outside.String() + "/30", "dev", l.outside},
		{"link", "set", l.outside, "up"},
		{"-netns", l.namespace, "address", "add", l.inside.String() + "/30", "dev", "eth0"},
		{"-netns", l.namespace, "link", "set", "eth0", "up"},
		{"-netns", l.namespace, "link", "set", "lo", "up"},
	} {
		if _, err := run(ctx, "ip", args...); err != nil {
			return err
		}
	}
	return nil
}

func (l *link) namespacePath() string { return filepath.Join("/run/netns", l.namespace) }

// inUse reports whether an interface of this machine has an address in the network, or
// is in one that it is a part of.
func inUse(network netip.Prefix) (bool, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false, err
	}
	for _, a := range addresses {
		if other, err := netip.ParsePrefix(a.String()); err == nil && other.Overlaps(network) {
			return true, nil
		}
	}
	return false, nil
}
