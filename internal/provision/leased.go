package provision

import (
	"context"
	"time"
)

// leasedRuntime changes nothing on a host once the job's lease is over by this worker's
// own clock. One that was stopped for long would otherwise go on with a call before it
// hears that somebody else has the job. What is under way already, the fence is for.
type leasedRuntime struct {
	Runtime
	work *work
}

func (r leasedRuntime) held() error {
	if r.work.leaseOver() {
		return Errorf(CodeFenced, nil, "the lease of %s is over", r.work.claim.Job)
	}
	return nil
}

func (r leasedRuntime) CreateVolume(ctx context.Context, w Workload) error {
	if err := r.held(); err != nil {
		return err
	}
	return r.Runtime.CreateVolume(ctx, w)
}

func (r leasedRuntime) Create(ctx context.Context, w Workload) error {
	if err := r.held(); err != nil {
		return err
	}
	return r.Runtime.Create(ctx, w)
}

func (r leasedRuntime) Start(ctx context.Context, w Workload) (map[string]int, error) {
	if err := r.held(); err != nil {
		return nil, err
	}
	return r.Runtime.Start(ctx, w)
}

func (r leasedRuntime) Adopt(ctx context.Context, w Workload) error {
	if err := r.held(); err != nil {
		return err
	}
	return r.Runtime.Adopt(ctx, w)
}

func (r leasedRuntime) Settle(ctx context.Context, id InstanceID, fence int64) error {
	if err := r.held(); err != nil {
		return err
	}
	return r.Runtime.Settle(ctx, id, fence)
}

func (r leasedRuntime) Stop(ctx context.Context, id InstanceID, fence int64, grace time.Duration) error {
	if err := r.held(); err != nil {
		return err
	}
	return r.Runtime.Stop(ctx, id, fence, grace)
}

func (r leasedRuntime) Remove(ctx context.Context, id InstanceID, fence int64, data bool) error {
	if err := r.held(); err != nil {
		return err
	}
	return r.Runtime.Remove(ctx, id, fence, data)
}
