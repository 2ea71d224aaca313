package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
)

// The steps of the other jobs of hosts.
const (
	stepCheck  = "check"
	stepClean  = "clean"
	stepKey    = "key"
	stepCordon = "cordon"
	stepMove   = "move"
)

const (
	deleteDeadline  = 15 * time.Minute
	drainDeadline   = time.Hour
	inspectDeadline = 10 * time.Minute
)

func deletePlan() []job.StepOf[*work] {
	return []job.StepOf[*work]{
		{Name: stepCheck, Timeout: time.Minute, Do: do((*work).unused), Redo: job.RedoAlways},
		{Name: stepClean, Timeout: 5 * time.Minute, Do: do((*work).clean)},
		{Name: stepKey, Timeout: 2 * time.Minute, Do: do((*work).removeKey)},
	}
}

// unused fails while something is on the host.
func (w *work) unused(ctx context.Context) error {
	held, err := w.cfg.Store.Allocations(ctx, AllocationFilter{Host: w.host.ID}, "", 1)
	if err != nil {
		return err
	}
	if len(held) > 0 {
		return inUse(w.host.Name, max(1, int(w.host.Used.Units)))
	}
	unbooked, err := w.cfg.Store.Unbooked(ctx, w.host.ID, reconcileBatch)
	if err != nil || len(unbooked) == 0 {
		return err
	}
	return inUse(w.host.Name, len(unbooked))
}

func inUse(name string, units int) error {
	return fault.Errorf(fault.CodeHostInUse, nil, "host %s still has %s; drain it, or delete them, and then the host", name, plural(units, "instance"))
}

// clean removes what Berth keeps on a host besides units.
func (w *work) clean(ctx context.Context) error {
	if w.host.Engine == "" {
		return nil // it never joined
	}
	r, err := w.runtime(w.cfg.Known)
	if err != nil {
		return err
	}
	// An import that was cut off may have left what it was proving the host with.
	if err := r.Remove(ctx, w.proofUnit(), w.Claim().Fence, true); err != nil {
		return err
	}
	return r.Forget(ctx)
}

// removeKey takes Berth's key from the machine.
func (w *work) removeKey(ctx context.Context) error {
	if !w.host.bySSH() || w.host.HostKey == "" {
		return nil
	}
	_, line, err := w.cfg.Access.Key(ctx)
	if err != nil {
		return err
	}
	err = w.shell(ctx, func(sh Shell) error { return RemoveKey(ctx, sh, line) })
	if fault.CodeOf(err) == fault.CodeLoginRefused {
		return nil // it is not there any more, or never was
	}
	return err
}

func drainPlan() []job.StepOf[*work] {
	return []job.StepOf[*work]{
		{Name: stepCordon, Timeout: time.Minute, Do: do((*work).closed)},
		{Name: stepMove, Timeout: 30 * time.Minute, Do: do((*work).move)},
	}
}

// closed is done when the job is accepted: from then on nothing is placed there.
func (w *work) closed(context.Context) error { return nil }

// move says what is on the host. A single instance has its data there alone, and stays.
func (w *work) move(ctx context.Context) error {
	stays := 0
	for after := UnitID(""); ; {
		held, err := w.cfg.Store.Allocations(ctx, AllocationFilter{Host: w.host.ID}, after, reconcileBatch)
		if err != nil {
			return err
		}
		for _, a := range held {
			after = a.Unit
			stays++
		}
		if len(held) < reconcileBatch {
			break
		}
	}
	if stays == 0 {
		w.Detail(ctx, stepMove, "nothing is there")
		return nil
	}
	w.Detail(ctx, stepMove, plural(stays, "instance")+" stays: its data is there alone; GET /hosts/ID/instances lists what stays")
	return nil
}

// Drain closes a host and has moved away what can be moved.
func (s *Service) Drain(ctx context.Context, p tenant.Principal, which ID) (job.Job, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return job.Job{}, err
	}
	return s.start(ctx, p, which, order{kind: JobDrain, limit: drainDeadline, action: tenant.ActHostDrain, prepare: func(h *Host) error {
		if h.State == StateOnline {
			if err := h.Move(StateCordoned, "", s.cfg.Now()); err != nil {
				return err
			}
		}
		return h.Move(StateDraining, "", s.cfg.Now())
	}})
}

// Inspect has a host looked at: whether its machine is fit, and whether the books are right.
func (s *Service) Inspect(ctx context.Context, p tenant.Principal, which ID) (job.Job, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return job.Job{}, err
	}
	return s.start(ctx, p, which, order{kind: JobInspect, limit: inspectDeadline, action: tenant.ActHostInspect, prepare: func(h *Host) error {
		if !h.Joined() || h.State == StateDeleting {
			return fault.Errorf(fault.CodeHostState, nil, "host %s is %s; there is nothing to inspect", h.Name, h.State)
		}
		return nil
	}})
}

// order is a job on a host that somebody asks for.
type order struct {
	kind    job.Kind
	limit   time.Duration
	action  tenant.Action
	prepare func(*Host) error // makes the host what it is while the job is at it
}

// start begins a job on a host. Asked again while it is under way, it gives the same job.
func (s *Service) start(ctx context.Context, p tenant.Principal, which ID, o order) (job.Job, error) {
	jobs, err := s.startAll(ctx, p, []ID{which}, o)
	if err != nil {
		return job.Job{}, err
	}
	return jobs[0], nil
}

// startAll does so on several hosts, on all of them or none.
func (s *Service) startAll(ctx context.Context, p tenant.Principal, all []ID, o order) ([]job.Job, error) {
	jobs := make(map[ID]job.Job, len(all))
	err := s.changeAll(ctx, p, all, func(tx Tx, h *Host) (deed tenant.Deed, err error) {
		jobs[h.ID], deed, err = s.begin(tx, h, o)
		return deed, err
	})
	if err != nil {
		return nil, err
	}
	list := make([]job.Job, len(all))
	for i, which := range all {
		list[i] = jobs[which]
	}
	return list, nil
}

func (s *Service) begin(tx Tx, h *Host, o order) (job.Job, tenant.Deed, error) {
	active, err := tx.ActiveJob(id.Subject(h.ID))
	switch {
	case err == nil && active.Kind == o.kind:
		return active, tenant.Deed{Action: o.action, Job: active.ID, Detail: "under way already"}, nil
	case err == nil && o.kind == JobDelete:
		if err := s.cfg.Jobs.CutOff(tx, active, "the host was deleted while this job was running"); err != nil {
			return job.Job{}, tenant.Deed{}, err
		}
		h.Fence = max(h.Fence, active.Fence) + 1
	case err == nil:
		return job.Job{}, tenant.Deed{}, &fault.Error{
			Code: fault.CodeBusy, Job: active.ID, RetryAfter: time.Second,
			Message: fmt.Sprintf("host %s has a job already: wait for %s (%s)", h.Name, active.ID, active.Kind),
		}
	case !errors.Is(err, fault.ErrNotFound):
		return job.Job{}, tenant.Deed{}, err
	}
	before := h.State
	if err := o.prepare(h); err != nil {
		return job.Job{}, tenant.Deed{}, err
	}
	j, err := s.cfg.Jobs.New(o.kind, id.Subject(h.ID), "", o.limit)
	if err != nil {
		return job.Job{}, tenant.Deed{}, err
	}
	j.Tenant, j.Class = tenant.Pool, class
	if err := s.cfg.Jobs.Insert(tx, j); err != nil {
		return job.Job{}, tenant.Deed{}, err
	}
	deed := tenant.Deed{Action: o.action, Job: j.ID, Detail: "name " + h.Name}
	if h.State == before {
		return j, deed, nil
	}
	return j, deed, announce(s.cfg.Jobs, tx, "host."+string(h.State), *h, j.ID, "accepted", s.cfg.Now())
}

// Delete takes hosts out of the pool that nothing is on: all of them, or none. With force their
// rows go at once, one host after the other, whatever is on it: the instances there are deleted on
// the record, and what is left of them on the machine is removed if it is ever seen again.
func (s *Service) Delete(ctx context.Context, p tenant.Principal, force bool, all ...ID) ([]job.Job, error) {
	outside := ctx
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return nil, err
	}
	all = slices.Compact(slices.Sorted(slices.Values(all)))
	if !force {
		return s.startAll(ctx, p, all, order{kind: JobDelete, limit: deleteDeadline, action: tenant.ActHostDelete, prepare: func(h *Host) error {
			if h.Used.Units > 0 {
				return inUse(h.Name, int(h.Used.Units))
			}
			h.BeforeState = restState(h.State)
			return h.Move(StateDeleting, "", s.cfg.Now())
		}})
	}
	if _, err := s.views(ctx, all); err != nil { // nothing is done where one is not there
		return nil, err
	}
	var jobs []job.Job
	for _, which := range all {
		j, err := s.forceDelete(outside, p, which)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// restState gives the state that a host goes back to that could not be deleted: one that no job
// is needed for.
func restState(s State) State {
	switch s {
	case StateOnline:
		return StateOnline
	case StateImporting, StateFailed:
		return StateFailed
	default:
		return StateCordoned
	}
}

func (s *Service) forceDelete(outside context.Context, p tenant.Principal, which ID) (j job.Job, err error) {
	ctx := tenant.Within(outside, tenant.Pool)
	if err := s.close(ctx, p, which); err != nil {
		return job.Job{}, err
	}
	if s.cfg.Evict != nil {
		if err := s.cfg.Evict(outside, p, which); err != nil {
			return job.Job{}, err
		}
	}
	err = fault.Redecide(func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			h, err := tx.HostRow(which)
			if errors.Is(err, fault.ErrNotFound) {
				return unknownHost(which)
			} else if err != nil {
				return err
			}
			if active, err := tx.ActiveJob(id.Subject(which)); err == nil {
				if err := s.cfg.Jobs.CutOff(tx, active, "the host was deleted while this job was running"); err != nil {
					return err
				}
			} else if !errors.Is(err, fault.ErrNotFound) {
				return err
			}
			if j, err = s.cfg.Jobs.New(JobDelete, id.Subject(which), "", deleteDeadline); err != nil {
				return err
			}
			j.Tenant, j.Class, j.Steps = tenant.Pool, class, nil
			now := s.cfg.Now()
			if err := GiveBack(tx, AllocationFilter{Host: which}, now); err != nil {
				return err
			}
			if err := announce(s.cfg.Jobs, tx, "host.deleted", h, j.ID, "its rows were deleted by force, by "+p.Name, now); err != nil {
				return err
			}
			if j, err = s.cfg.Jobs.InsertEnded(tx, j, "deleted by force; what is left on the machine is removed if it is seen again"); err != nil {
				return err
			}
			if err := tx.DeleteHostSecrets(which); err != nil {
				return err
			}
			if h, err = tx.HostRow(which); err != nil {
				return err
			}
			if err := tx.DeleteHost(h); err != nil {
				return err
			}
			return s.note(tx, p, tenant.Deed{Action: tenant.ActHostForceDelete, Tenant: tenant.Pool, On: string(which), Job: j.ID, Detail: "name " + h.Name})
		})
	})
	return j, err
}

// close has nothing more placed on a host, so that what is evicted then is all that there is.
func (s *Service) close(ctx context.Context, p tenant.Principal, which ID) error {
	return s.change(ctx, p, which, func(_ Tx, h *Host) (tenant.Deed, error) {
		deed := tenant.Deed{Action: tenant.ActHostCordon, Detail: "to be deleted by force"}
		if h.State != StateOnline {
			return deed, nil
		}
		return deed, h.Move(StateCordoned, "it is to be deleted by force", s.cfg.Now())
	})
}
