package provision

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// work is one claimed job while this worker is at it.
type work struct {
	*Runner
	claim    Claim
	kind     JobKind
	deadline time.Time

	mu      sync.Mutex // guards job, savedAt and inst: steps that run together and the lease keeper write
	job     Job
	savedAt time.Time
	inst    Instance

	run running
}

// running is what the steps of a job share; it is made anew by every run.
type running struct {
	engine  Engine
	creds   Credentials
	host    Host
	runtime Runtime // as long as the lease is held
	anytime Runtime // also after that
	image   string
	golden  bool          // the image has golden data
	notice  string        // what the tenant should know of what was repaired
	placed  chan struct{} // closed once there are a host and its runtime
	noted   chan struct{} // closed once that is written, too: what is made there can be found
}

// comes waits for what a step beside this one does.
func comes(ctx context.Context, thing <-chan struct{}) error {
	select {
	case <-thing:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// instance gives the instance as it is at this moment, to steps that run beside others.
func (w *work) instance() Instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inst
}

// snapshot gives the job as it is at this moment.
func (w *work) snapshot() Job {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.job
}

// change changes the job in memory; the next save writes it. Steps and Error are
// shared with snapshots, so a change replaces them.
func (w *work) change(change func(*Job)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.job)
}

// save writes the job under its fence, with whatever else belongs to the same
// moment.
func (w *work) save(ctx context.Context, also func(Tx) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.saveLocked(ctx, also)
}

func (w *work) saveLocked(ctx context.Context, also func(Tx) error) error {
	now := w.cfg.Now()
	job := w.job
	job.UpdatedAt = now
	if job.State == JobRunning {
		job.LeaseUntil = now.Add(w.cfg.LeaseTTL)
		job.WakeAt = job.LeaseUntil
	}
	err := w.cfg.Store.Tx(ctx, func(tx Tx) error {
		if err := tx.UpdateJob(job, w.claim.Fence); err != nil || also == nil {
			return err
		}
		return also(tx)
	})
	if err == nil {
		w.job, w.savedAt = job, now
	}
	return err
}

// keepLease renews the lease until the context ends. When somebody else has the
// job, or the lease has run out because the database could not be reached, it
// takes the run's context away.
func (w *work) keepLease(ctx context.Context, lost context.CancelCauseFunc) {
	ticker := time.NewTicker(w.cfg.LeaseTTL / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		saveCtx, cancel := context.WithTimeout(ctx, w.cfg.LeaseTTL/3)
		err := w.save(saveCtx, nil)
		cancel()
		if errors.Is(err, fault.ErrFenced) || (err != nil && w.leaseOver()) {
			lost(fault.Errorf(fault.CodeFenced, err, "the lease of %s is lost", w.claim.Job))
			return
		}
	}
}

// held fails once the lease is over by this worker's own clock.
func (w *work) held() error {
	if w.leaseOver() {
		return fault.Errorf(fault.CodeFenced, nil, "the lease of %s is over", w.claim.Job)
	}
	return nil
}

func (w *work) leaseOver() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.job.LeaseUntil.After(w.cfg.Now())
}

// work runs the steps, and where they fail for good, takes back what they did.
// The error says that the run is to be tried again later.
func (w *work) work(ctx context.Context) error {
	if !w.snapshot().Undoing {
		err := w.forward(ctx)
		if err == nil || !w.final(ctx, err) {
			return err
		}
		if err := w.save(ctx, nil); err != nil {
			return err
		}
	}
	return w.undo(ctx)
}

// forward runs what is not done yet.
func (w *work) forward(ctx context.Context) error {
	ctx, cancel := context.WithDeadline(ctx, w.deadline)
	defer cancel()
	if err := w.prepare(ctx); err != nil {
		return err
	}
	for i := 0; ; {
		job := w.snapshot() // a step may change what comes after it
		plan := job.plan()
		if i >= len(plan) {
			return nil
		}
		n := together(plan[i:])
		if err := w.runSteps(ctx, i, plan[i:i+n]); err != nil {
			return err
		}
		i += n
	}
}

// prepare gathers what every step needs.
func (w *work) prepare(ctx context.Context) error {
	var err error
	w.run.placed, w.run.noted = make(chan struct{}), make(chan struct{})
	if w.run.engine, err = w.cfg.Catalog.Find(w.inst.Engine); err != nil && w.kind != JobDelete {
		return err
	}
	if w.kind != JobDelete {
		sealed, err := w.cfg.Store.Credentials(ctx, w.inst.ID)
		if err != nil {
			return err
		}
		if w.run.creds, err = OpenCredentials(w.cfg.Vault, w.inst.ID, sealed); err != nil {
			return err
		}
	}
	if w.inst.Host == "" {
		return nil
	}
	err = w.useHost(ctx, w.inst.Host)
	if w.kind == JobDelete && errors.Is(err, fault.ErrNotFound) {
		w.cfg.Log.WarnContext(ctx, "the host of a delete is not known any more; nothing can be removed there", "instance", w.inst.ID, "host", w.inst.Host)
		return nil
	}
	if err == nil {
		close(w.run.placed)
		close(w.run.noted)
	}
	return err
}

func (w *work) useHost(ctx context.Context, id HostID) error {
	host, err := w.cfg.Store.Host(ctx, id)
	if err != nil {
		return err
	}
	runtime, err := w.cfg.Runtimes.Runtime(host)
	if err != nil {
		return err
	}
	w.run.host, w.run.anytime, w.run.runtime = host, runtime, leasedRuntime{runtime, w.held}
	return nil
}
