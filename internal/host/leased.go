package host

import (
	"context"
	"time"
)

// leasedRuntime changes nothing on a host once the job's lease is over by this worker's
// own clock. A worker that stood still for long would otherwise go on with a call before it
// hears that another one has the job. Calls that are under way already are stopped by the
// fencing token.
//
// It names every method and embeds nothing: a method that is added to Runtime does not
// compile here until somebody has decided whether it needs the lease.
type leasedRuntime struct {
	next Runtime
	held func() error // fails once the lease is over
}

var _ Runtime = leasedRuntime{}

// Leased returns the runtime as long as held does not fail.
func Leased(runtime Runtime, held func() error) Runtime { return leasedRuntime{runtime, held} }

// Reading needs no lease.

func (r leasedRuntime) Ping(ctx context.Context) error { return r.next.Ping(ctx) }

func (r leasedRuntime) Identity(ctx context.Context) (string, error) { return r.next.Identity(ctx) }

func (r leasedRuntime) Facts(ctx context.Context) (EngineFacts, error) { return r.next.Facts(ctx) }

func (r leasedRuntime) Inspect(ctx context.Context, id UnitID) (Unit, error) {
	return r.next.Inspect(ctx, id)
}

func (r leasedRuntime) Space(ctx context.Context, id UnitID) (Space, error) {
	return r.next.Space(ctx, id)
}

func (r leasedRuntime) List(ctx context.Context) ([]Unit, error) { return r.next.List(ctx) }

func (r leasedRuntime) Watch(ctx context.Context, ended func(UnitID)) error {
	return r.next.Watch(ctx, ended)
}

func (r leasedRuntime) Output(ctx context.Context, id UnitID, lines int) (string, error) {
	return r.next.Output(ctx, id, lines)
}

// Images and golden data belong to the host and not to the job: they are shared, named by
// their content, and no fencing token guards them.

func (r leasedRuntime) EnsureImage(ctx context.Context, references []string, progress func(string)) (string, error) {
	return r.next.EnsureImage(ctx, references, progress)
}

func (r leasedRuntime) EnsureGolden(ctx context.Context, g Golden, progress func(string)) (string, error) {
	return r.next.EnsureGolden(ctx, g, progress)
}

// Changes need the lease.

func (r leasedRuntime) Forget(ctx context.Context) error {
	if err := r.held(); err != nil {
		return err
	}
	return r.next.Forget(ctx)
}

func (r leasedRuntime) CreateVolume(ctx context.Context, w Workload) error {
	if err := r.held(); err != nil {
		return err
	}
	return r.next.CreateVolume(ctx, w)
}

func (r leasedRuntime) Create(ctx context.Context, w Workload) error {
	if err := r.held(); err != nil {
		return err
	}
	return r.next.Create(ctx, w)
}

func (r leasedRuntime) Start(ctx context.Context, w Workload) (map[string]int, error) {
	if err := r.held(); err != nil {
		return nil, err
	}
	return r.next.Start(ctx, w)
}

func (r leasedRuntime) Adopt(ctx context.Context, w Workload) error {
	if err := r.held(); err != nil {
		return err
	}
	return r.next.Adopt(ctx, w)
}

func (r leasedRuntime) Settle(ctx context.Context, id UnitID, fence int64) error {
	if err := r.held(); err != nil {
		return err
	}
	return r.next.Settle(ctx, id, fence)
}

func (r leasedRuntime) Stop(ctx context.Context, id UnitID, fence int64, grace time.Duration) error {
	if err := r.held(); err != nil {
		return err
	}
	return r.next.Stop(ctx, id, fence, grace)
}

func (r leasedRuntime) Remove(ctx context.Context, id UnitID, fence int64, data bool) error {
	if err := r.held(); err != nil {
		return err
	}
	return r.next.Remove(ctx, id, fence, data)
}
