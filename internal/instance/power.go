package instance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
)

// The kinds of jobs that end a server and start it again. The data, the ports and the name of
// its instance stay as they are.
const (
	JobRestart job.Kind = "instance.restart"
	JobStop    job.Kind = "instance.stop"
	JobStart   job.Kind = "instance.start"
)

const (
	// stopGrace is how long a server may take to end by itself.
	stopGrace = time.Minute
	// powerDeadline bounds these jobs, from accept to end: a host may be away for a while.
	powerDeadline    = 15 * time.Minute
	maxPowerAttempts = 4
)

// The first steps of a stop and a restart. A server that is killed may have to recover when it
// is started; it loses nothing that it has confirmed.
const (
	stopStep = "stop"
	killStep = "kill"
)

func stopStepOf(name string) job.StepOf[*work] {
	grace := stopGrace
	if name == killStep {
		grace = 0
	}
	return job.StepOf[*work]{Name: name, Timeout: 2 * time.Minute, Do: func(ctx context.Context, w *work) error { return w.stop(ctx, grace) }}
}

// restartPlans are that of a server that ends by itself, and of one that is killed.
func restartPlans() [][]job.StepOf[*work] {
	return [][]job.StepOf[*work]{
		append([]job.StepOf[*work]{stopStepOf(stopStep)}, repairPlan()...),
		append([]job.StepOf[*work]{stopStepOf(killStep)}, repairPlan()...),
	}
}

func stopPlans() [][]job.StepOf[*work] {
	remove := job.StepOf[*work]{Name: "remove", Timeout: 2 * time.Minute, Do: do((*work).remove)}
	return [][]job.StepOf[*work]{{stopStepOf(stopStep), remove}, {stopStepOf(killStep), remove}}
}

func startPlan() []job.StepOf[*work] {
	return append([]job.StepOf[*work]{{Name: "reserve", Timeout: 30 * time.Second, Do: do((*work).takeBack), Redo: job.RedoAlways}}, repairPlan()...)
}

// onKeptData reports whether the job starts a server on the data that its instance has.
func onKeptData(kind job.Kind) bool {
	return kind == JobRepair || kind == JobRestart || kind == JobStart
}

// stop ends the server.
func (w *work) stop(ctx context.Context, grace time.Duration) error {
	if w.run.runtime == nil {
		return fault.Errorf(fault.CodeDataLost, nil, "the instance was never placed on a host")
	}
	return w.run.runtime.Stop(ctx, host.UnitID(w.inst.ID), w.Claim().Fence, grace)
}

// takeBack gives a stopped instance the cores and the memory again that it had given up.
func (w *work) takeBack(ctx context.Context) error {
	size := w.inst.Spec.Resources
	err := w.save(ctx, func(tx Tx) error { return tx.Resize(host.UnitID(w.inst.ID), size.CPUMillis, size.MemoryBytes) })
	switch {
	case errors.Is(err, host.ErrNoShare):
		return fault.Errorf(fault.CodeNoCapacity, err, "host %s, where its data is, has too little memory or cores left; stop or delete another instance there, or try again later", w.run.host.Name)
	case errors.Is(err, fault.ErrNotFound): // it was placed by a worker that keeps no books
		return w.takePort(ctx)
	}
	return err
}

// giveUp leaves a stopped instance its disk and its ports.
func giveUp(tx Tx, inst Instance) error {
	return fault.IgnoreNotFound(tx.Resize(host.UnitID(inst.ID), 0, 0))
}

// Action asks for something to be done with an instance that is there.
type Action struct {
	Force       bool // the server is killed
	CallbackURL string
}

// verb is what can be done with a server.
type verb struct {
	kind  job.Kind
	name  string  // for people
	from  []State // in which states
	deed  tenant.Action
	takes func(Instance) tenant.Amounts // of the tenant's quota
}

func verbs() []verb {
	running := []State{StateRunning, StateUnhealthy}
	return []verb{
		{kind: JobRestart, name: "restart", from: running, deed: tenant.ActInstanceRestart},
		{kind: JobStop, name: "stop", from: running, deed: tenant.ActInstanceStop},
		{kind: JobStart, name: "start", from: []State{StateStopped}, deed: tenant.ActInstanceStart, takes: func(i Instance) tenant.Amounts {
			return tenant.Amounts{tenant.CPU: i.Spec.Resources.CPUMillis, tenant.Memory: i.Spec.Resources.MemoryBytes}
		}},
	}
}

// allowed lists for people what can be done in a state.
func allowed(s State) string {
	var names []string
	for _, v := range verbs() {
		if slices.Contains(v.from, s) {
			names = append(names, v.name)
		}
	}
	if s.CanBecome(StateDeleting) {
		names = append(names, "delete")
	}
	if len(names) == 0 {
		return "nothing is possible until its job has ended"
	}
	return "possible: " + strings.Join(names, ", ")
}

// Restart ends the server of an instance, and starts it again. Asked again meanwhile, it gives
// the same job, as Stop and Start do. CodeInstanceState where the state does not allow it.
func (s *Service) Restart(ctx context.Context, p tenant.Principal, engine string, id ID, a Action) (Accepted, error) {
	return s.act(ctx, p, engine, id, JobRestart, a)
}

// Stop ends the server of an instance. Its data, ports and disk stay the tenant's; its cores
// and memory do not.
func (s *Service) Stop(ctx context.Context, p tenant.Principal, engine string, id ID, a Action) (Accepted, error) {
	return s.act(ctx, p, engine, id, JobStop, a)
}

// Start starts the server of a stopped instance, where its host has room for it.
func (s *Service) Start(ctx context.Context, p tenant.Principal, engine string, id ID, a Action) (Accepted, error) {
	return s.act(ctx, p, engine, id, JobStart, a)
}

func (s *Service) act(ctx context.Context, p tenant.Principal, engine string, which ID, kind job.Kind, a Action) (Accepted, error) {
	if err := p.May(tenant.Change); err != nil {
		return Accepted{}, err
	}
	if _, err := s.Get(ctx, p, engine, which); err != nil {
		return Accepted{}, err
	}
	if wrong := s.checkCallback(ctx, a.CallbackURL); wrong != nil {
		return Accepted{}, fault.Invalid(wrong)
	}
	all := verbs()
	v := all[slices.IndexFunc(all, func(v verb) bool { return v.kind == kind })]
	var accepted Accepted
	err := s.cfg.Quotas.Attempt(func() error {
		return s.decide(ctx, func(tx Tx) (err error) {
			accepted, err = s.beginAction(tx, p, which, v, a)
			return err
		})
	})
	if err != nil {
		return Accepted{}, err
	}
	return accepted, nil
}

func (s *Service) beginAction(tx Tx, p tenant.Principal, which ID, v verb, a Action) (Accepted, error) {
	inst, err := tx.Instance(which)
	if err != nil {
		return Accepted{}, err
	}
	first := ""
	if a.Force && v.kind != JobStart {
		first = killStep
	}
	active, err := tx.ActiveJob(id.Subject(which))
	switch {
	case err == nil && active.Kind == v.kind && (a.CallbackURL == "" || a.CallbackURL == active.CallbackURL) && (first == "" || active.Steps[0].Name == first):
		return Accepted{Instance: inst, Job: active}, nil
	case err == nil:
		return Accepted{}, &fault.Error{
			Code: fault.CodeBusy, Job: active.ID, RetryAfter: time.Second,
			Message: fmt.Sprintf("instance %s has a job of kind %s; wait for job %s", which, active.Kind, active.ID),
		}
	case !errors.Is(err, fault.ErrNotFound):
		return Accepted{}, err
	case inst.State == StateDeleted:
		return Accepted{}, gone(inst)
	case !slices.Contains(v.from, inst.State):
		return Accepted{}, fault.Errorf(fault.CodeInstanceState, nil, "instance %s is %s, so it cannot be used for %s; %s", which, inst.State, v.name, allowed(inst.State))
	}
	if err := s.Admit(tx, inst.Tenant); err != nil {
		return Accepted{}, err
	}
	j, err := newJob(s.jobs, v.kind, first, inst, powerDeadline, a.CallbackURL)
	if err != nil {
		return Accepted{}, err
	}
	now := s.cfg.Now()
	if err := inst.Move(StateUpdating, v.name, now); err != nil {
		return Accepted{}, err
	}
	if err := tx.UpdateInstance(inst); err != nil {
		return Accepted{}, err
	}
	if err := s.jobs.Insert(tx, j); err != nil {
		return Accepted{}, err
	}
	if err := announce(s.jobs, tx, EventUpdating, inst, j.ID, v.name+" accepted", now); err != nil {
		return Accepted{}, err
	}
	if err := s.note(tx, p, tenant.Deed{Action: v.deed, On: string(which), Job: j.ID, Detail: "name " + inst.Name}); err != nil {
		return Accepted{}, err
	}
	accepted := Accepted{Instance: inst, Job: j}
	if v.takes == nil {
		return accepted, nil
	}
	return accepted, s.cfg.Quotas.Reserve(tx, inst.Tenant, v.takes(inst))
}
