package job_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/bell/belltest"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/storetest"
	"github.com/berth-project/berth/internal/tenant"
)

// A toy is a second kind of subject. That it needs no line of the room changed is the proof
// that the room knows nothing of instances.
type toy struct {
	state string // wanted, making, made, broken
	fence int64
}

// shelf is where toys really stand, as a host has containers.
type shelf struct {
	mu      sync.Mutex
	stands  map[id.Subject]int64 // the fence that it was made with
	painted map[id.Subject]bool
}

func (s *shelf) make(which id.Subject, fence int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stands[which] > fence {
		return fault.Errorf(fault.CodeFenced, nil, "toy %s has a newer owner", which)
	}
	s.stands[which] = fence
	return nil
}

func (s *shelf) paint(which id.Subject) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.painted[which] = true
	return nil
}

func (s *shelf) remove(which id.Subject, fence int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stands[which] > fence {
		return fault.Errorf(fault.CodeFenced, nil, "toy %s has a newer owner", which)
	}
	delete(s.stands, which)
	delete(s.painted, which)
	return nil
}

func (s *shelf) has(which id.Subject) (stands, painted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, stands = s.stands[which]
	return stands, s.painted[which]
}

// toys are the rows of the toys. A write is there once its transaction is committed.
type toys struct {
	mu   sync.Mutex
	rows map[id.Subject]toy
}

func (t *toys) get(which id.Subject) (toy, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, ok := t.rows[which]
	if !ok {
		return toy{}, fault.ErrNotFound
	}
	return row, nil
}

func (t *toys) put(tx job.Tx, which id.Subject, row toy) {
	tx.OnCommit(func(context.Context) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.rows[which] = row
	})
}

// Snapshot implements job.Subject.
func (t *toys) Snapshot(_ job.Tx, which id.Subject) (event.Part, error) {
	row, err := t.get(which)
	return event.Part{Name: "toy", Value: map[string]string{"id": string(which), "state": row.state}}, err
}

// CallbackSecret implements job.Subject.
func (t *toys) CallbackSecret(job.Tx, id.Subject) (secret.Secret, error) {
	return secret.New("whsec_toy"), nil
}

// Within implements job.Subject.
func (t *toys) Within(context.Context, tenant.Limits, id.Subject) (bool, error) { return false, nil }

// making is a job of a toy in a worker's hands.
type making struct {
	*job.Run
	room  *playroom
	which id.Subject
	row   toy
}

func (m *making) Begin(tx job.Tx, j job.Job) error {
	m.row.fence, m.row.state = j.Fence, "making"
	m.room.toys.put(tx, m.which, m.row)
	return nil
}

func (m *making) Open(context.Context) error { return nil }

func (m *making) Undo(context.Context) error {
	err := m.room.shelf.remove(m.which, m.Claim().Fence)
	if err == nil {
		m.Change((*job.Job).UndoSteps)
	}
	return err
}

func (m *making) Withdraw(_ context.Context, j job.Job) error {
	if j.State == job.Canceled || j.Undoing {
		return fault.IgnoreLostRace(m.room.shelf.remove(m.which, m.Claim().Fence))
	}
	return nil
}

func (m *making) End(tx job.Tx, j job.Job) (string, error) {
	m.row.state = map[bool]string{true: "made", false: "broken"}[j.State == job.Succeeded]
	m.room.toys.put(tx, m.which, m.row)
	return "the toy is " + m.row.state, nil
}

func (m *making) Scrub(text string) string { return text }

const (
	makeToy job.Kind = "toy.make"
	makeSet job.Kind = "toy.make_set"
)

// playroom is everything around the jobs of toys.
type playroom struct {
	*testing.T
	ctx    context.Context
	toys   *toys
	shelf  *shelf
	store  job.Store
	engine *job.Engine
	jobs   *job.Service
	queue  *belltest.Queue
	relay  *job.Relay
	fail   func(step string) error // what a step fails of; nil: of nothing
	toldMu sync.Mutex
	told   []event.Announcement
	runs   atomic.Int32
}

// Listeners implements event.Sink.
func (p *playroom) Listeners(context.Context, tenant.ID) any { return nil }

// Tell implements event.Sink.
func (p *playroom) Tell(tx event.Tx, a event.Announcement) error {
	if _, err := a.Snapshot(); err != nil {
		return err
	}
	tx.OnCommit(func(context.Context) {
		p.toldMu.Lock()
		defer p.toldMu.Unlock()
		p.told = append(p.told, a)
	})
	return nil
}

func inPlayroom(t *testing.T, run func(*playroom)) {
	t.Helper()
	rows := storetest.SQLite(t)
	synctest.Test(t, func(t *testing.T) {
		p := &playroom{
			T: t, ctx: t.Context(), toys: &toys{rows: map[id.Subject]toy{}},
			shelf: &shelf{stands: map[id.Subject]int64{}, painted: map[id.Subject]bool{}},
			store: rooms.Jobs(rows), queue: belltest.NewQueue(),
		}
		kinds := &job.Registry{}
		kinds.RegisterSubject("toy", p.toys)
		job.Register(kinds, job.Definition[*making]{
			Kind: makeToy, Cancelable: true, Pool: pool, Find: p.find,
			Attempts: func(code fault.Code) int { return map[bool]int{true: 3, false: 1}[code.Retryable()] },
			Plans: [][]job.StepOf[*making]{{
				{Name: "make", Timeout: time.Minute, Redo: job.RedoAlways, Do: func(_ context.Context, m *making) error {
					return errors.Join(p.failure("make"), p.shelf.make(m.which, m.Claim().Fence))
				}},
				{Name: "paint", Timeout: time.Minute, Beside: true, Do: func(_ context.Context, m *making) error {
					return errors.Join(p.failure("paint"), p.shelf.paint(m.which))
				}},
				{Name: "check", Timeout: time.Minute, Do: func(context.Context, *making) error { return p.failure("check") }},
			}},
		})
		job.Register(kinds, job.Definition[*making]{
			Kind: makeSet, Cancelable: true, Pool: pool, Find: p.find, Attempts: func(fault.Code) int { return 3 },
			Plans: [][]job.StepOf[*making]{{
				{Name: "box", Timeout: time.Minute, Do: func(_ context.Context, m *making) error { return p.shelf.make(m.which, m.Claim().Fence) }},
				{Name: "parts", Timeout: time.Minute, Do: func(ctx context.Context, m *making) error {
					return m.Children(ctx, "parts", func(tx job.Tx) ([]job.Job, error) { return p.parts(tx, m.which) })
				}},
			}},
		})
		newID := id.NewSource().New
		p.engine = &job.Engine{
			Kinds: kinds, Queue: p.queue, Bell: &bell.Local{}, NewID: newID, Now: clock.System, Log: slog.New(slog.DiscardHandler),
			Events: &event.Log{NewID: newID, Bell: &bell.Local{}, Sink: p},
		}
		p.jobs, p.relay = job.NewService(p.engine, p.store, 0, 0), job.NewRelay(p.engine, p.store, "w1")
		run(p)
	})
}

func pool(job.Job) bell.Pool { return bell.PoolUpkeep }

func (p *playroom) failure(step string) error {
	if p.fail == nil {
		return nil
	}
	return p.fail(step)
}

func (p *playroom) find(_ job.Tx, r *job.Run, j job.Job) (*making, int64, error) {
	row, err := p.toys.get(j.Subject)
	return &making{Run: r, room: p, which: j.Subject, row: row}, row.fence, err
}

// parts makes the jobs of the two parts of a set.
func (p *playroom) parts(tx job.Tx, of id.Subject) (parts []job.Job, err error) {
	for _, name := range []string{"a", "b"} {
		part := of + id.Subject(name)
		p.toys.put(tx, part, toy{state: "wanted"})
		j, err := p.engine.New(makeToy, part, "", time.Hour)
		if err != nil {
			return nil, err
		}
		parts = append(parts, j)
	}
	return parts, nil
}

func (p *playroom) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// order accepts a job for a new toy.
func (p *playroom) order(kind job.Kind, which id.Subject, limit time.Duration) id.Job {
	p.Helper()
	j, err := p.engine.New(kind, which, "", limit)
	p.must(err)
	j.Tenant, j.CallbackURL = tenant.Default, "https://example.com/hook"
	p.must(p.store.Tx(p.ctx, func(tx job.Tx) error {
		p.toys.put(tx, which, toy{state: "wanted"})
		return p.engine.Insert(tx, j)
	}))
	return j.ID
}

func (p *playroom) job(name id.Job) job.Job {
	p.Helper()
	j, err := p.store.Job(p.ctx, name)
	p.must(err)
	return j
}

func (p *playroom) children(of id.Job) (children []job.Job) {
	p.Helper()
	p.must(p.store.Tx(p.ctx, func(tx job.Tx) (err error) {
		children, err = tx.ChildJobs(of)
		return err
	}))
	return children
}

// mortalStore is the database as a worker sees it that may die.
type mortalStore struct {
	job.Store
	dead atomic.Bool
}

func (s *mortalStore) Tx(ctx context.Context, do func(job.Tx) error) error {
	if s.dead.Load() {
		return fault.Errorf(fault.CodeUnavailable, nil, "this worker is dead")
	}
	return s.Store.Tx(ctx, do)
}

// worker makes a runner that dies right before or right after a step, once.
func (p *playroom) worker(step string, after bool) *job.Runner {
	s := &mortalStore{Store: p.store}
	return job.NewRunner(job.RunnerConfig{Engine: p.engine, Store: s, Owner: fmt.Sprintf("w%d", p.runs.Add(1)), OnStep: func(_ job.Kind, name string, over bool) {
		if name == step && over == after {
			s.dead.Store(true)
		}
	}})
}

// spin has tasks done by the worker, and, once it may have died, by another one, until the
// job has ended.
func (p *playroom) spin(name id.Job, first *job.Runner) job.Job {
	p.Helper()
	other := p.worker("", false)
	for range 500 {
		_, err := p.relay.RunOnce(p.ctx)
		p.must(err)
		for _, task := range p.queue.Take() {
			runner := other
			if first != nil && task.ID == string(name) {
				runner, first = first, nil
			}
			_ = runner.Run(p.ctx, id.Job(task.ID)) // a dead one cannot write its outcome
		}
		p.queue.Done()
		if j := p.job(name); j.State.Ended() {
			return j
		}
		<-time.After(time.Second)
	}
	p.Fatalf("job %s is %+v", name, p.job(name))
	return job.Job{}
}

// consistent checks that the job, its toy and the shelf say the same, and that the end was
// told once.
func (p *playroom) consistent(j job.Job) {
	p.Helper()
	stands, painted := p.shelf.has(j.Subject)
	row, err := p.toys.get(j.Subject)
	p.must(err)
	good := j.State == job.Succeeded
	if stands != good || painted && !good || row.state != map[bool]string{true: "made", false: "broken"}[good] {
		p.Errorf("the job is %s (%+v), the toy %+v, on the shelf: %v, painted: %v", j.State, j.Error, row, stands, painted)
	}
	if good && j.Kind == makeToy && p.shelf.stands[j.Subject] != j.Fence {
		p.Errorf("what stands there has the fence %d, the job's last owner %d", p.shelf.stands[j.Subject], j.Fence)
	}
	var ends []string
	for _, a := range p.told {
		if a.Job == j.ID {
			ends = append(ends, a.Type)
			if j.CallbackURL != "" && (a.Callback == nil || a.Callback.Secret.Reveal() != "whsec_toy") {
				p.Errorf("the callback is %+v", a.Callback)
			}
		}
	}
	if !slices.Equal(ends, []string{"job." + string(j.State)}) {
		p.Errorf("told were %v of a job that is %s", ends, j.State)
	}
}

// ended returns the place of the job's end among all that were told.
func (p *playroom) ended(name id.Job) int {
	return slices.IndexFunc(p.told, func(a event.Announcement) bool { return a.Job == name })
}
