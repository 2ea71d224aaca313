package provision

import (
	"context"

	"github.com/berth-project/berth/internal/job"
)

// Ports hands out the ports of hosts.
type Ports interface {
	// Allocate gives the instance a port on the host for the named purpose; asked
	// again it gives the same one. CodePortsExhausted when none is left; CodeFenced
	// when the claim is no longer good.
	Allocate(ctx context.Context, claim job.Claim, host Host, name string) (int, error)
	// Refused takes the port from the instance because the host would not give it,
	// and keeps it out of use for a while.
	Refused(ctx context.Context, claim job.Claim, host Host, port int) error
	// Available reports whether the host has a port left.
	Available(ctx context.Context, host Host) (bool, error)
}
