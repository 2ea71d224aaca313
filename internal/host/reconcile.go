package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/job"
)

// Reconciler compares what is written with what the hosts have, both ways, and mends
// what differs:
//
//   - a resident that should run and does not is repaired, by a job, on its data;
//   - so is one that had failed because its data was gone, when that is there again;
//   - what a host has of one that is deleted, failed or unknown is removed;
//   - ports of such a one are released once its host has nothing of it.
//
// A host that does not answer is left out: from silence nothing is concluded, and little
// from a host that has lost much at once (brake.go). Every change is made only if the
// resident is as it was read and has no job, so that the reconciler never gets in the
// way of a worker. Any number of processes may have one; a duty for each host lets one of
// them sweep it at a time.
type Reconciler struct {
	Store     Store
	Runtimes  Runtimes
	Residents Residents
	Now       clock.Clock
	Log       *slog.Logger
	Owner     string
	Every     time.Duration // how often it sweeps
	Grace     time.Duration // what is younger is left alone
	DryRun    bool          // only say what would be done
	Jobs      *job.Engine   // tells of the health of hosts; nil: nobody does

	mu    sync.Mutex
	hosts map[ID]*hostSweeps
}

// hostSweeps is what this process remembers of the sweeps of one host.
type hostSweeps struct {
	turn  chan struct{} // holds one token while a sweep is under way
	stuck stuck

	misses   int       // sweeps in a row that the host has not answered
	measured time.Time // when its disks were looked at last
}

// The settings where the configuration says nothing.
const (
	DefaultReconcileEvery = 10 * time.Second
	DefaultReconcileGrace = time.Minute
)

const (
	// reconcileDuty and the host's id name the duty of sweeping it.
	reconcileDuty  = "reconcile/"
	reconcileBatch = 1000
	// sweepTimeout bounds one sweep of one host.
	sweepTimeout = time.Minute
	// maxOrphans bounds how many one sweep of a host removes; the next goes on.
	maxOrphans = 100
	// listSlack is how much later than a list a resident may have changed, by another
	// machine's clock, for the list still to tell its truth.
	listSlack = 3 * time.Second
)

// RunOnce sweeps every host once, and reports how many things were mended.
func (r *Reconciler) RunOnce(ctx context.Context) (int, error) {
	hosts, err := r.Store.HostsInShort(ctx)
	if err != nil {
		return 0, err
	}
	hosts = slices.DeleteFunc(hosts, func(h Host) bool { return !h.Joined() })
	var (
		mended atomic.Int64
		all    sync.WaitGroup
		errs   = make([]error, len(hosts))
	)
	for i, host := range hosts {
		if !host.Joined() {
			continue // its job is at it, and it has no units
		}
		all.Go(func() {
			n, err := r.RunHost(ctx, host.ID)
			mended.Add(int64(n))
			if err != nil {
				errs[i] = fmt.Errorf("host %s: %w", host.Name, err)
			}
		})
	}
	all.Wait()
	return int(mended.Load()), errors.Join(errs...)
}

// RunHost sweeps one host, after a sweep of it that is under way in this process. Where
// another process has the duty it does nothing.
func (r *Reconciler) RunHost(ctx context.Context, id ID) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	memory := r.memoryOf(id)
	select {
	case memory.turn <- struct{}{}:
		defer func() { <-memory.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	sweeping := &duty.Duty{Store: r.Store, Now: r.Now, Name: reconcileDuty + string(id), Owner: r.Owner, Hold: 3 * r.Every}
	mine, err := sweeping.Mine(ctx)
	if err != nil || !mine {
		return 0, err
	}
	host, err := r.Store.Host(ctx, id)
	if err != nil {
		return 0, err
	}
	kept, stop := sweeping.Keep(ctx)
	defer stop()
	if !host.Joined() {
		return 0, nil // nothing is there yet
	}
	mended, err := r.sweep(kept, host, memory)
	r.tend(kept, host, memory, err)
	return mended, err
}

func (r *Reconciler) memoryOf(id ID) *hostSweeps {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hosts == nil {
		r.hosts = map[ID]*hostSweeps{}
	}
	if r.hosts[id] == nil {
		r.hosts[id] = &hostSweeps{turn: make(chan struct{}, 1), stuck: stuck{}}
	}
	return r.hosts[id]
}
