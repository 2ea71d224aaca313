package instance

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/ttl"
)

// Works does the jobs of instances. A process that only accepts them needs the vault and
// nothing else: it knows what kinds there are, and does none.
type Works struct {
	cfg       WorksConfig
	goldens   ttl.Map[string, goldenFailure] // by what was not made
	placement host.Placement
}

// WorksConfig is what workers need for the jobs of instances.
type WorksConfig struct {
	Store    Store
	Hosts    host.PlacementStore
	Ports    host.Ports
	Runtimes host.Runtimes
	Vault    secret.Vault
	// Authority certifies servers; nil: they have no certificates.
	Authority Authority
	Catalog   Catalog
	Now       clock.Clock
	// Quarantine is how long a freed port rests.
	Quarantine time.Duration
	// KeepFailed is how long a failed create is kept where that was asked for.
	KeepFailed time.Duration
}

// DefaultQuarantine is how long a freed port rests where the configuration says nothing.
const DefaultQuarantine = 2 * time.Minute

// NewWorks makes Works.
func NewWorks(cfg WorksConfig) *Works {
	if cfg.Now == nil {
		cfg.Now = clock.System
	}
	if cfg.Quarantine == 0 {
		cfg.Quarantine = DefaultQuarantine
	}
	if cfg.KeepFailed == 0 {
		cfg.KeepFailed = DefaultKeepFailed
	}
	return &Works{cfg: cfg, placement: host.Placement{Store: cfg.Hosts, Ports: cfg.Ports, Now: cfg.Now}}
}

// work is one claimed job of an instance while this worker is at it.
type work struct {
	*job.Run
	*Works

	mu   sync.Mutex // guards inst: steps run in parallel
	inst Instance

	run running
}

// running is what the steps of a job share; it is made anew by every run.
type running struct {
	engine  Engine
	creds   Credentials
	host    host.Host
	runtime host.Runtime // as long as the lease is held
	anytime host.Runtime // also after that
	disk    host.Disk    // that the data is on
	image   string
	imaged  chan struct{} // closed once the image is known
	known   *sync.Once    // closes it
	golden  bool          // the image has golden data
	notice  string        // what the tenant should know of what was repaired
	placed  chan struct{} // closed once there are a host and its runtime
	noted   chan struct{} // closed once that is written, too: what is made there can be found
}

// await waits for what a step beside this one does.
func await(ctx context.Context, thing <-chan struct{}) error {
	select {
	case <-thing:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// find reads the instance of a job that is claimed.
func (s *Works) find(t job.Tx, r *job.Run, j job.Job) (*work, int64, error) {
	inst, err := within(t).Instance(ID(j.Subject))
	return &work{Run: r, Works: s, inst: inst}, inst.Fence, err
}

// instance returns the instance as it is at this moment, to steps that run beside others.
func (w *work) instance() Instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inst
}

func (w *work) setInstance(inst Instance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inst = inst
}

// save writes the job under its fence, with whatever else belongs to the same moment.
func (w *work) save(ctx context.Context, also func(Tx) error) error {
	return w.Save(ctx, func(tx job.Tx) error { return also(within(tx)) })
}

// Begin implements job.Work.
func (w *work) Begin(t job.Tx, j job.Job) error {
	tx, inst := within(t), w.inst
	inst.Fence = j.Fence
	begins := j.Kind == JobCreate && inst.State == StatePending
	if begins {
		if err := inst.Move(StateProvisioning, "", j.UpdatedAt); err != nil {
			return err
		}
	}
	if err := tx.UpdateInstance(inst); err != nil {
		return err
	}
	if begins {
		if err := announce(w.Engine(), tx, EventProvisioning, inst, j.ID, "a worker started the job", j.UpdatedAt); err != nil {
			return err
		}
	}
	inst.Rev++
	w.inst = inst
	return nil
}

// Open implements job.Work: it gathers what every step needs.
func (w *work) Open(ctx context.Context) error {
	var err error
	w.run.placed, w.run.noted, w.run.imaged = make(chan struct{}), make(chan struct{}), make(chan struct{})
	w.run.known = &sync.Once{}
	if w.run.engine, err = w.cfg.Catalog.Find(w.inst.Spec.Engine); err != nil && w.Kind() != JobDelete {
		return err
	}
	if w.Kind() != JobDelete {
		sealed, err := w.cfg.Store.Credentials(ctx, w.inst.ID)
		if err != nil {
			return err
		}
		if w.run.creds, err = OpenCredentials(w.cfg.Vault, w.inst.ID, sealed); err != nil {
			return err
		}
	}
	if w.inst.Status.Host == "" {
		return nil
	}
	err = w.useHost(ctx, w.inst.Status.Host)
	if w.Kind() == JobDelete && errors.Is(err, fault.ErrNotFound) {
		w.Log().WarnContext(ctx, "the host of a deleted instance is no longer registered; nothing can be removed there", "instance", w.inst.ID, "host", w.inst.Status.Host)
		return nil
	}
	if err == nil && w.Kind() == JobCreate {
		w.run.disk, err = w.heldDisk(ctx)
	}
	if err == nil {
		close(w.run.placed)
		close(w.run.noted)
	}
	return err
}

func (w *work) useHost(ctx context.Context, which host.ID) error {
	h, err := w.cfg.Hosts.Host(ctx, which)
	if err != nil {
		return err
	}
	runtime, err := w.cfg.Runtimes.Runtime(h)
	if err != nil {
		return err
	}
	w.run.host, w.run.anytime, w.run.runtime = h, runtime, host.Leased(runtime, w.Held)
	return nil
}

// announce has an event about the instance told. It is called after the writes that make
// the event true.
func announce(e *job.Engine, tx Tx, kind string, inst Instance, about id.Job, message string, now time.Time) error {
	return e.Events.Announce(tx, announcement(e, tx, kind, inst, about, message, now))
}

func announcement(e *job.Engine, tx Tx, kind string, inst Instance, about id.Job, message string, now time.Time) event.Announcement {
	subject := id.Subject(inst.ID)
	return event.Announcement{
		Event:    event.Event{Tenant: inst.Tenant, Type: kind, Subject: subject, Job: about, Message: message, At: now},
		Snapshot: e.Kinds.Snapshot(tx, subject, about),
	}
}

// newJob returns a queued job for the instance.
func newJob(e *job.Engine, kind job.Kind, firstStep string, inst Instance, limit time.Duration, callbackURL string) (job.Job, error) {
	j, err := e.New(kind, id.Subject(inst.ID), firstStep, limit)
	j.Tenant, j.Class, j.CallbackURL = inst.Tenant, inst.Spec.Engine, callbackURL
	return j, err
}

// subject is what instances bring to all of their jobs.
type subject struct {
	vault secret.Vault
	store Reader
}

// snapshot is what events tell of an instance.
type snapshot struct {
	ID     ID                `json:"id"`
	Engine string            `json:"engine"`
	Name   string            `json:"name"`
	State  State             `json:"state"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Snapshot implements job.Subject.
func (s subject) Snapshot(tx job.Tx, of id.Subject) (event.Part, error) {
	inst, err := within(tx).Instance(ID(of))
	return event.Part{Name: "instance", Value: snapshot{inst.ID, inst.Spec.Engine, inst.Name, inst.State, inst.Labels}}, err
}

// CallbackSecret implements job.Subject.
func (s subject) CallbackSecret(tx job.Tx, of id.Subject) (secret.Secret, error) {
	sealed, err := within(tx).Credentials(ID(of))
	if err != nil {
		return secret.Secret{}, err
	}
	creds, err := OpenCredentials(s.vault, ID(of), sealed)
	return creds.CallbackSecret, err
}

// Within implements job.Subject.
func (s subject) Within(ctx context.Context, limits tenant.Limits, of id.Subject) (bool, error) {
	inst, err := s.store.Instance(ctx, ID(of))
	return err == nil && limits.Allow(inst.Spec.Engine, inst.Labels), err
}

// within returns the transaction of a job as one that writes instances, too.
func within(tx job.Tx) Tx { return tx.(Tx) } //nolint:forcetypeassert // there is one store

// ofStock reports whether the job is about an instance in stock, so that nobody waits for it.
func ofStock(j job.Job) bool { return Instance{Tenant: j.Tenant}.Stock() }

// subjectOf returns the instance as jobs and events name it.
func subjectOf(inst ID) id.Subject { return id.Subject(inst) }
