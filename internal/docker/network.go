package docker

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/network"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/fault"
)

// The network of all instances of an engine, of every deployment (docs/adr/0020): a bridge
// that passes nothing from one container to another, and nothing out under the host's
// address, so that nobody beyond the host answers. Only what is published is reached.
const (
	networkName = "berth-instances"
	// bridgePrefix begins what the host calls the bridge, for rules of its firewall. It ends
	// with a number, which is 0 unless that bridge is somebody else's.
	bridgePrefix = "berth"
	// bridgeHeld is how long a bridge is somebody else's before the next number is taken. The
	// somebody is mostly another process that makes the same network at this moment: of two
	// one is refused for the bridge, whatever the engine thinks of names. But an engine that
	// was killed while it made the network keeps the bridge for one that it does not have, for
	// ever.
	bridgeHeld = 4 * time.Second
)

const bridgeOption = "com.docker.network.bridge.name"

// networkOptions are those of the bridge driver
// (https://docs.docker.com/engine/network/drivers/bridge/#options).
func networkOptions(bridge int) map[string]string {
	return map[string]string{
		bridgeOption:                                     bridgePrefix + strconv.Itoa(bridge),
		"com.docker.network.bridge.enable_icc":           "false",
		"com.docker.network.bridge.enable_ip_masquerade": "false",
	}
}

// ensureNetwork makes the network of instances, or finds it there as it should be. It is asked
// for once in the life of a process, and again when the engine says that it is gone.
func (r *Runtime) ensureNetwork(ctx context.Context) error {
	if r.engine.networked.Load() {
		return nil
	}
	patience, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	bridge, held := 0, time.Time{} // since when that one is
	for {
		n, err := r.engine.inspectNetwork(ctx, networkName)
		if err == nil {
			return r.acceptNetwork(n)
		}
		if !errors.Is(err, fault.ErrNotFound) {
			return err
		}
		err = r.engine.createNetwork(ctx, networkName, network.CreateOptions{
			Driver: "bridge", Options: networkOptions(bridge), Labels: map[string]string{labelNetwork: networkName},
		})
		if err == nil {
			continue // and see what it has become
		}
		switch taken := strings.Contains(cause(err).Error(), "same bridge name"); {
		case taken && held.IsZero():
			held = time.Now()
		case taken && time.Since(held) >= bridgeHeld:
			bridge, held = bridge+1, time.Time{}
		}
		// Somebody else may be making it at this moment.
		if backoff.Wait(patience, pollEvery) != nil {
			return fault.Errorf(fault.CodeHostRefused, cause(err), "host %s cannot make the network %s, which keeps instances apart: %s",
				r.engine.name, networkName, words(cause(err)))
		}
	}
}

// acceptNetwork refuses a network under our name that would not keep instances apart.
func (r *Runtime) acceptNetwork(n network.Inspect) error {
	for option, want := range networkOptions(0) {
		if option == bridgeOption && strings.HasPrefix(n.Options[option], bridgePrefix) {
			continue
		}
		if n.Driver != "bridge" || n.Options[option] != want {
			return fault.Errorf(fault.CodeHostRefused, nil,
				"host %s has a network %s that does not keep instances apart (%s is %q, not %q); remove it, and Berth makes it anew",
				r.engine.name, networkName, option, n.Options[option], want)
		}
	}
	r.engine.networked.Store(true)
	return nil
}

// networkGone notes that a container could not be started because somebody has removed the
// network, as a prune does while no container runs. The next try makes both anew.
func (r *Runtime) networkGone(err error) error {
	if !errors.Is(err, fault.ErrNotFound) || !strings.Contains(cause(err).Error(), "network") {
		return err
	}
	r.engine.networked.Store(false)
	return fault.Errorf(fault.CodeInternal, cause(err), "host %s: the network %s was removed", r.engine.name, networkName)
}
