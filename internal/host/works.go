package host

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// The kinds of jobs of hosts.
const (
	JobImport   job.Kind = "host.import"
	JobTakeover job.Kind = "host.takeover"
	JobInspect  job.Kind = "host.inspect"
	JobDrain    job.Kind = "host.drain"
	JobDelete   job.Kind = "host.delete"
	// JobImports is about a whole file: the import of each of its hosts is a job of its own that
	// it has started.
	JobImports job.Kind = "hosts.import"
)

// ImportsPrefix begins the ids of imports of several hosts.
const ImportsPrefix = "imp"

// Works does the jobs of hosts. A process that only accepts them needs the store and nothing
// else: it knows what kinds there are, and does none.
type Works struct{ cfg WorksConfig }

// WorksConfig is what workers need for the jobs of hosts.
type WorksConfig struct {
	Store Store
	// Adapters give the runtimes of hosts whoever answers there, and Known those of hosts whose
	// engine is their own.
	Adapters, Known Runtimes
	Machines        Machines
	Access          *Access
	Fitter          Fitter
	Residents       Residents
	Now             clock.Clock
}

// Fitter fits a host out for what will run there.
type Fitter interface {
	// Install makes the images and the golden data present that units are started from.
	Install(ctx context.Context, h Host, r Runtime, report func(string)) error
	// Prove starts a unit on the host, uses it over the address that tenants will use, and
	// removes it, whatever comes of it. It gives what has bounded its volume. CodeProbeFailed and
	// those of Runtime.
	Prove(ctx context.Context, h Host, r Runtime, unit UnitID, fence int64, report func(string)) (Enforcement, error)
}

// NewWorks makes Works.
func NewWorks(cfg WorksConfig) *Works {
	if cfg.Now == nil {
		cfg.Now = clock.System
	}
	return &Works{cfg}
}

// Register adds the kinds of jobs to the registry.
func (s *Works) Register(r *job.Registry) {
	r.RegisterSubject(Prefix, subject{})
	r.RegisterSubject(ImportsPrefix, importsSubject{})
	attempts := func(code fault.Code) int {
		switch {
		case !code.Retryable():
			return 1
		case code == fault.CodeHostUnavailable, code == fault.CodeUnavailable:
			return maxAwayAttempts
		default:
			return maxAttempts
		}
	}
	host := func(kind job.Kind, cancelable bool, steps []job.StepOf[*work]) {
		job.Register(r, job.Definition[*work]{
			Kind: kind, Cancelable: cancelable, Find: s.find, Pool: upkeep, Plans: [][]job.StepOf[*work]{steps}, Attempts: attempts,
		})
	}
	host(JobImport, true, importPlan())
	host(JobTakeover, true, takeoverPlan())
	host(JobInspect, true, inspectPlan())
	host(JobDrain, true, drainPlan())
	host(JobDelete, false, deletePlan())
	job.Register(r, job.Definition[*importsWork]{
		Kind: JobImports, Cancelable: true, Find: s.findImports, Pool: upkeep, Plans: [][]job.StepOf[*importsWork]{importsPlan()},
		Attempts: func(fault.Code) int { return math.MaxInt },
	})
}

const (
	maxAttempts     = 3
	maxAwayAttempts = 6 // of a machine that does not answer
)

func upkeep(job.Job) bell.Pool { return bell.PoolUpkeep }

// do makes a method a step's function.
func do(method func(*work, context.Context) error) func(context.Context, *work) error {
	return func(ctx context.Context, w *work) error { return method(w, ctx) }
}

// work is one claimed job of a host while this worker is at it.
type work struct {
	*job.Run
	*Works
	host     Host
	disks    []Disk
	password secret.Secret // of the first login, while it is needed
}

// find reads the host of a job that is claimed.
func (s *Works) find(t job.Tx, r *job.Run, j job.Job) (*work, int64, error) {
	h, err := within(t).HostRow(ID(j.Subject))
	return &work{Run: r, Works: s, host: h}, h.Fence, err
}

// within returns the transaction of a job as one that writes hosts, too.
func within(tx job.Tx) Tx { return tx.(Tx) } //nolint:forcetypeassert // there is one store

// Begin implements job.Work.
func (w *work) Begin(t job.Tx, j job.Job) error {
	w.host.Fence, w.host.UpdatedAt = j.Fence, j.UpdatedAt
	if err := within(t).UpdateHost(w.host); err != nil {
		return err
	}
	w.host.Rev++
	return nil
}

// Open implements job.Work.
func (w *work) Open(ctx context.Context) (err error) {
	if w.host, err = w.cfg.Store.Host(ctx, w.host.ID); err != nil {
		return err
	}
	w.disks, err = w.cfg.Store.Disks(ctx, w.host.ID)
	return err
}

// save writes the host as the function makes it, under the job's fence. Others may change what
// is not the job's meanwhile.
func (w *work) save(ctx context.Context, change func(Tx, *Host) error) error {
	return w.Save(ctx, func(t job.Tx) error {
		tx := within(t)
		h, err := tx.HostRow(w.host.ID)
		if err != nil {
			return err
		}
		if err := change(tx, &h); err != nil {
			return err
		}
		h.UpdatedAt = w.cfg.Now()
		if err := tx.UpdateHost(h); err != nil {
			return err
		}
		h.Rev++
		w.host = h
		return nil
	})
}

// shell logs in to the host's machine by Berth's key for as long as the function runs.
func (w *work) shell(ctx context.Context, do func(Shell) error) error {
	l, err := w.cfg.Access.Login(ctx, w.host)
	if err != nil {
		return err
	}
	return w.loggedIn(ctx, l, do)
}

func (w *work) loggedIn(ctx context.Context, l Login, do func(Shell) error) error {
	sh, err := w.cfg.Machines.Shell(ctx, l)
	if err != nil {
		return err
	}
	defer sh.Close() //nolint:errcheck // nothing is lost by it
	return do(sh)
}

// bySSH reports whether Berth can log in to the host's machine.
func (h *Host) bySSH() bool { return strings.HasPrefix(h.Endpoint, sshScheme) }

// sshScheme begins the endpoint of an engine that is reached by SSH.
const sshScheme = "ssh://"

// tcpScheme begins the endpoint of an engine that is reached by TCP, with certificates.
const tcpScheme = "tcp://"

// runtime gives the host's runtime as long as the job's lease is held.
func (w *work) runtime(of Runtimes) (Runtime, error) {
	r, err := of.Runtime(w.host)
	if err != nil {
		return nil, err
	}
	return Leased(r, w.Held), nil
}

// Scrub implements job.Work.
func (w *work) Scrub(text string) string {
	if w.password.Empty() {
		return text
	}
	return strings.ReplaceAll(text, w.password.Reveal(), secret.Redacted)
}

// Withdraw implements job.Work: what a worker did that has lost the job, the next one does again.
func (w *work) Withdraw(context.Context, job.Job) error { return nil }

// Undo implements job.Work. What was made on the machine stays for the next try, but for the unit
// of the proof.
func (w *work) Undo(ctx context.Context) error {
	if w.Kind() == JobImport {
		w.removeProof(ctx)
	}
	return nil
}

// End implements job.Work: it brings the host to the end of its job.
func (w *work) End(t job.Tx, j job.Job) (string, error) {
	tx, now := within(t), j.FinishedAt
	h, err := tx.HostRow(w.host.ID)
	if err != nil {
		return "", err
	}
	if err := tx.DeleteHostSecrets(h.ID, secretPassword); err != nil {
		return "", err
	}
	to, why := w.outcome(h, j)
	message := why
	if message == "" {
		message = fmt.Sprintf("host %s is %s", h.Name, to)
	}
	if to == StateDeleted {
		if err := announce(w.Engine(), tx, "host.deleted", h, j.ID, message, now); err != nil {
			return "", err
		}
		return message, errors.Join(tx.DeleteHostSecrets(h.ID), tx.DeleteHost(h))
	}
	if h.State == to {
		return message, nil
	}
	if err := h.Move(to, why, now); err != nil {
		return "", err
	}
	h.BeforeState = ""
	if err := tx.UpdateHost(h); err != nil {
		return "", err
	}
	return message, announce(w.Engine(), tx, "host."+string(to), h, j.ID, message, now)
}

// outcome gives the state that the host is in behind its job, and why.
func (w *work) outcome(h Host, j job.Job) (to State, why string) {
	failed := j.State != job.Succeeded
	if failed {
		why = j.Error.Message
		if j.Error.Step != "" {
			why = j.Error.Step + ": " + why
		}
	}
	switch j.Kind {
	case JobImport, JobTakeover:
		if failed {
			return StateFailed, clip(why, maxReason)
		}
		return StateOnline, ""
	case JobDrain:
		return StateCordoned, clip(why, maxReason)
	case JobDelete:
		if failed {
			return h.BeforeState, clip(why, maxReason)
		}
		return StateDeleted, ""
	default:
		return h.State, why
	}
}

// maxReason limits the reason of a host, in bytes.
const maxReason = 500

func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// announce has an event about the host told. It is called after the writes that make it true.
func announce(e *job.Engine, tx job.Tx, kind string, h Host, about id.Job, message string, now time.Time) error {
	of := id.Subject(h.ID)
	return e.Events.Announce(tx, event.Announcement{
		Event:    event.Event{Tenant: tenant.Pool, Type: kind, Subject: of, Job: about, Message: message, At: now},
		Snapshot: e.Kinds.Snapshot(tx, of, about),
	})
}

// subject is what hosts bring to all of their jobs.
type subject struct{}

func subjectOf(h Host) id.Subject { return id.Subject(h.ID) }

// snapshot is what events tell of a host.
type snapshot struct {
	ID     ID     `json:"id"`
	Name   string `json:"name"`
	State  State  `json:"state"`
	Health Health `json:"health"`
	Region string `json:"region,omitempty"`
	Zone   string `json:"zone,omitempty"`
	Rack   string `json:"rack,omitempty"`
}

// Snapshot implements job.Subject.
func (subject) Snapshot(tx job.Tx, of id.Subject) (event.Part, error) {
	h, err := within(tx).HostRow(ID(of))
	return event.Part{Name: "host", Value: snapshot{h.ID, h.Name, h.State, h.Health, h.Region, h.Zone, h.Rack}}, err
}

// CallbackSecret implements job.Subject: nobody is called back about hosts.
func (subject) CallbackSecret(job.Tx, id.Subject) (secret.Secret, error) {
	return secret.Secret{}, fault.ErrNotFound
}

// Within implements job.Subject: keys that are limited to some instances see no host.
func (subject) Within(context.Context, tenant.Limits, id.Subject) (bool, error) { return false, nil }
