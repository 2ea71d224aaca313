package swarm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"

	"github.com/berth-project/berth/internal/fault"
)

// ensureNetwork makes the swarm's network of instances. Each node makes its part of it from its own
// settings, and refuses instances where it has none.
func (r *Runtime) ensureNetwork(ctx context.Context) error {
	if _, ok := r.network.Get(networkName, time.Now()); ok {
		return nil
	}
	err := r.cluster.change(ctx, "create network "+networkName, func(ctx context.Context, api *client.Client) error {
		n, err := api.NetworkInspect(ctx, networkName, network.InspectOptions{Scope: "swarm"})
		if err == nil && n.ConfigFrom.Network != settingsName {
			return fault.Errorf(fault.CodeHostRefused, nil,
				"host %s: the swarm has a network %s that is not made from %s; remove it, and Berth makes it anew", r.cluster.name, networkName, settingsName)
		}
		if err == nil {
			return nil
		}
		_, err = api.NetworkCreate(ctx, networkName, network.CreateOptions{
			Scope: "swarm", Driver: "bridge", ConfigFrom: &network.ConfigReference{Network: settingsName},
		})
		return err
	})
	if errors.Is(err, fault.ErrConflict) {
		err = nil // somebody was faster
	}
	if err != nil {
		return fmt.Errorf("network of instances: %w", err)
	}
	r.network.Put(networkName, struct{}{}, time.Now(), imageKnownFor)
	return nil
}
