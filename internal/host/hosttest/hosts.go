package hosttest

import (
	"sync"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// Runtimes gives runtimes by host. It implements host.Runtimes.
type Runtimes struct {
	mu     sync.Mutex
	byHost map[host.ID]host.Runtime
	any    host.Runtime
}

var _ host.Runtimes = (*Runtimes)(nil)

// NewRuntimes gives the runtime for every host that is not set otherwise; nil: such
// hosts do not answer.
func NewRuntimes(r host.Runtime) *Runtimes {
	return &Runtimes{byHost: map[host.ID]host.Runtime{}, any: r}
}

// Set sets the runtime of one host; nil: it does not answer.
func (h *Runtimes) Set(id host.ID, r host.Runtime) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.byHost[id] = r
}

// Runtime gives the host's runtime, or CodeHostUnavailable.
func (h *Runtimes) Runtime(host host.Host) (host.Runtime, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.byHost[host.ID]
	if !ok {
		r = h.any
	}
	if r == nil {
		return nil, fault.Errorf(fault.CodeHostUnavailable, nil, "host %s does not answer", host.Name)
	}
	return r, nil
}
