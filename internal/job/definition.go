package job

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Definition says how jobs of one kind are done. W is what the subject's room works with
// while a worker is at the job.
type Definition[W Work] struct {
	Kind Kind
	// Pool says which workers do the job.
	Pool func(Job) bell.Pool
	// Attempts returns how often a job is tried that fails with the code.
	Attempts func(fault.Code) int
	// Cancelable says that a client may cancel the job.
	Cancelable bool
	// Plans are the ways of doing the job, each with another first step, by which its
	// journal is known. The first plan is the ordinary one.
	Plans [][]StepOf[W]
	// Find reads the subject in the transaction that claims the job, and returns what works
	// on it, and the highest fence that the subject has seen.
	Find func(Tx, *Run, Job) (w W, fence int64, err error)
}

// StepOf is one part of a job. It is idempotent: run again after a crash at any line it
// comes to the same end.
type StepOf[W Work] struct {
	Name    string
	Timeout time.Duration
	Do      func(context.Context, W) error
	Redo    Redo
	// Beside says that the step runs in parallel with the one before it.
	Beside bool
}

// Redo says whether a new owner of a job runs a step again that was done.
type Redo int

// A step is redone that makes or proves the thing that carries the fence: what an old owner
// may still be changing is not trusted.
const (
	RedoNever Redo = iota
	RedoAlways
	// RedoLast is for a step that other steps follow only where it did not succeed.
	RedoLast
)

// Work is one claimed job in the hands of its subject's room: the subject's half.
type Work interface {
	// Begin writes, in the transaction that claims the job, the job's fence to the subject,
	// and that the work on it has begun.
	Begin(Tx, Job) error
	// Open gathers what the steps need. Every run that goes forward opens anew.
	Open(context.Context) error
	// Undo rolls back what the job did. What it leaves as it is stays done in the journal;
	// otherwise it calls Job.UndoSteps.
	Undo(context.Context) error
	// Withdraw is the last act of a worker that lost the job to another owner. The job is as
	// it is now.
	Withdraw(context.Context, Job) error
	// End writes the subject's state in the transaction that ends the job, whose state says
	// how, and returns what the event about that says.
	End(Tx, Job) (message string, err error)
	// Scrub removes the subject's secrets from a text that came from outside.
	Scrub(string) string
}

// Subject is what a kind of subject brings to all of its jobs.
type Subject interface {
	// Snapshot returns what events tell of the subject. CodeNotFound: it is gone.
	Snapshot(Tx, id.Subject) (event.Part, error)
	// CallbackSecret returns what callbacks about the subject are signed with.
	CallbackSecret(Tx, id.Subject) (secret.Secret, error)
	// Within reports whether the limits of a key allow it to see the subject.
	Within(context.Context, tenant.Limits, id.Subject) (bool, error)
}

// Registry has the kinds of jobs and of subjects.
type Registry struct {
	kinds    map[Kind]*definition
	subjects map[string]Subject // by the prefix of their ids
}

// definition is a Definition whose type of work is hidden.
type definition struct {
	kind       Kind
	pool       func(Job) bell.Pool
	attempts   func(fault.Code) int
	cancelable bool
	plans      [][]step
	find       func(Tx, *Run, Job) (Work, int64, error)
}

type step struct {
	name    string
	timeout time.Duration
	do      func(context.Context, Work) error
	redo    Redo
	beside  bool
}

// Register adds a kind of job.
func Register[W Work](r *Registry, d Definition[W]) {
	if r.kinds == nil {
		r.kinds = map[Kind]*definition{}
	}
	hidden := &definition{
		kind: d.Kind, pool: d.Pool, attempts: d.Attempts, cancelable: d.Cancelable,
		find: func(tx Tx, r *Run, j Job) (Work, int64, error) { return d.Find(tx, r, j) },
	}
	for _, plan := range d.Plans {
		var steps []step
		for _, s := range plan {
			steps = append(steps, step{s.Name, s.Timeout, func(ctx context.Context, w Work) error { return s.Do(ctx, w.(W)) }, s.Redo, s.Beside})
		}
		hidden.plans = append(hidden.plans, steps)
	}
	r.kinds[d.Kind] = hidden
}

// RegisterSubject adds a kind of subject, by the prefix of its ids.
func (r *Registry) RegisterSubject(prefix string, s Subject) {
	if r.subjects == nil {
		r.subjects = map[string]Subject{}
	}
	r.subjects[prefix] = s
}

// Kinds lists the kinds of jobs.
func (r *Registry) Kinds() []Kind {
	var all []Kind
	for k := range r.kinds {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func (r *Registry) find(k Kind) (*definition, error) {
	d, ok := r.kinds[k]
	if !ok {
		return nil, fault.Errorf(fault.CodeInternal, nil, "this release of Berth does not support jobs of kind %s", k)
	}
	return d, nil
}

func (r *Registry) subject(s id.Subject) (Subject, error) {
	known, ok := r.subjects[s.Prefix()]
	if !ok {
		return nil, fault.Errorf(fault.CodeNotFound, nil, "this release of Berth does not support the subject %s", s)
	}
	return known, nil
}

// CallbackSecret returns what callbacks about the subject are signed with.
func (r *Registry) CallbackSecret(tx Tx, s id.Subject) (secret.Secret, error) {
	known, err := r.subject(s)
	if err != nil {
		return secret.Secret{}, err
	}
	return known.CallbackSecret(tx, s)
}

// plan returns the steps that the journal is of. The journal may be without some: whoever made
// the job may have left them out, and a step may find that no more is needed.
func (d *definition) plan(journal []Step) []step {
	all := d.plans[0]
	for _, other := range d.plans[1:] {
		if len(journal) > 0 && other[0].name == journal[0].Name {
			all = other
			break
		}
	}
	steps := make([]step, 0, len(journal))
	for _, j := range journal {
		next := slices.IndexFunc(all, func(s step) bool { return s.name == j.Name })
		if next < 0 {
			break // a newer release's
		}
		steps, all = append(steps, all[next]), all[next+1:]
	}
	return steps
}

// waiting returns the journal of a plan that has not begun.
func waiting(plan []step) []Step {
	steps := make([]Step, 0, len(plan))
	for _, s := range plan {
		steps = append(steps, Step{Name: s.name, State: StepWaiting})
	}
	return steps
}

// journal returns that of the plan with the first step, or of the ordinary one.
func (d *definition) journal(firstStep string) ([]Step, error) {
	for _, plan := range d.plans {
		if firstStep == "" || plan[0].name == firstStep {
			return waiting(plan), nil
		}
	}
	return nil, fmt.Errorf("no plan of %s begins with the step %s", d.kind, firstStep)
}

// resetFencedSteps has a new owner do again what it must not take over as done.
func (d *definition) resetFencedSteps(j *Job) {
	steps := slices.Clone(j.Steps)
	for i, s := range d.plan(steps) {
		again := s.redo == RedoAlways || s.redo == RedoLast && i == len(steps)-1
		if again && steps[i].State == StepDone {
			steps[i].State = StepWaiting
		}
	}
	j.Steps = steps
}
