package instance

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/berth-project/berth/internal/authority"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/ttl"
)

// A server proves its address by a certificate of the deployment's authority. How long that
// is good is written with the address, before the server is started, and the certificate is
// made anew whenever its files are. An instance of an earlier release has none.

// Authority certifies servers; *authority.Authority does.
type Authority interface {
	Certificate() string
	Until() time.Time
	Certify(authority.Subject) (authority.Identity, error)
}

// certifiedUntil returns how long the certificate is good that an instance is given now.
func (w *work) certifiedUntil() time.Time {
	if _, ok := w.run.engine.(Certified); !ok || w.cfg.Authority == nil || w.run.creds.AdminPassword.Empty() {
		return time.Time{}
	}
	return w.cfg.Authority.Until()
}

// certify makes the server's identity, good until then; zero: it gets none.
func (w *work) certify(until time.Time) (err error) {
	w.run.creds.Identity = authority.Identity{}
	if until.IsZero() {
		return nil
	}
	if w.cfg.Authority == nil {
		return fault.Errorf(fault.CodeInternal, nil, "instance %s has a certificate, and this worker has no authority", w.inst.ID)
	}
	w.run.creds.Identity, err = w.cfg.Authority.Certify(authority.Subject{
		Name: string(w.inst.ID), Address: w.inst.Status.Address, Secret: w.run.creds.AdminPassword, Until: until,
	})
	return err
}

// verifiable returns the credentials with what clients verify the server by.
func (c Credentials) verifiable(inst Instance, by Authority) Credentials {
	if by != nil && !inst.Status.CertifiedUntil.IsZero() {
		c.Identity = authority.Identity{CA: by.Certificate()}
	}
	return c
}

// JobRenew gives a running server a new certificate.
const JobRenew job.Kind = "instance.renew"

const (
	// renewDeadline bounds a renewal; the next look asks for another one.
	renewDeadline    = 10 * time.Minute
	maxRenewAttempts = 2
	// RenewEvery is how often is looked for certificates that end.
	RenewEvery = time.Minute
	renewDuty  = "renewal"
	// renewalsAtOnce is how many are begun at once, of so many that are due.
	renewalsAtOnce = 20
	renewalsDue    = 1000
	// renewAgain is how long one that was begun is left alone, however it ended: there are
	// weeks for it.
	renewAgain = 6 * time.Hour
)

func renewPlan() []job.StepOf[*work] {
	return []job.StepOf[*work]{{Name: "certificate", Timeout: time.Minute, Do: do((*work).renew), Redo: job.RedoAlways}}
}

// replaceFiles certifies the server until then, and gives its running container the files that
// follow from that and from the credentials, under the fence of this job.
func (w *work) replaceFiles(ctx context.Context, until time.Time) error {
	if err := w.certify(until); err != nil {
		return err
	}
	load, err := w.run.engine.Workload(w.inst, w.run.creds)
	if err != nil {
		return err
	}
	load.Fence = w.Claim().Fence
	return w.run.runtime.Adopt(ctx, load)
}

// renew puts a new certificate into the server's files, and has it used. That it is there is
// written when it is proven: whoever is killed before begins again.
func (w *work) renew(ctx context.Context) error {
	engine, ok := w.run.engine.(Certified)
	if !ok {
		return fault.Errorf(fault.CodeInternal, nil, "engine %s has no certificates", w.inst.Spec.Engine)
	}
	until := w.certifiedUntil()
	if err := w.replaceFiles(ctx, until); err != nil {
		return err
	}
	if err := engine.Recertify(ctx, w.inst, w.run.creds); err != nil {
		return err
	}
	return w.save(ctx, func(tx Tx) error {
		inst, err := tx.Instance(w.inst.ID)
		if err != nil {
			return err
		}
		inst.Status.CertifiedUntil, inst.UpdatedAt = until, w.cfg.Now()
		if err := tx.UpdateInstance(inst); err != nil {
			return err
		}
		inst.Rev++
		w.setInstance(inst)
		return nil
	})
}

// Renewer has certificates renewed before they end.
type Renewer struct {
	Store Store
	Jobs  *job.Engine
	Now   clock.Clock
	Log   *slog.Logger
	Owner string

	begun ttl.Map[ID, struct{}]
}

// RunOnce begins the renewals that are due, and reports how many.
func (r *Renewer) RunOnce(ctx context.Context) (int, error) {
	mine, err := (&duty.Duty{Store: r.Store, Now: r.Now, Name: renewDuty, Owner: r.Owner, Hold: RenewEvery}).Mine(ctx)
	if err != nil || !mine {
		return 0, err
	}
	now := r.Now()
	due, err := r.Store.CertificatesDue(ctx, authority.RenewalDue(now), renewalsDue)
	begun := 0
	for _, which := range due {
		if _, recently := r.begun.Get(which, now); recently || begun == renewalsAtOnce {
			continue
		}
		done, renewErr := r.begin(ctx, which)
		err = errors.Join(err, renewErr)
		if done {
			begun++
			r.begun.Put(which, struct{}{}, now, renewAgain)
		}
	}
	return begun, err
}

// begin has a job renew the certificate, unless the instance has another job or needs it no
// more.
func (r *Renewer) begin(ctx context.Context, which ID) (begun bool, err error) {
	var j job.Job
	err = r.Store.Tx(ctx, func(tx Tx) error {
		inst, err := tx.Instance(which)
		if err != nil || !inst.shouldRun() {
			return err
		}
		if err := job.Idle(tx, id.Subject(inst.ID)); err != nil {
			return err
		}
		if j, err = newJob(r.Jobs, JobRenew, "", inst, renewDeadline, ""); err != nil {
			return err
		}
		begun = true
		return r.Jobs.Insert(tx, j)
	})
	if err != nil {
		return false, fault.IgnoreLostRace(err)
	}
	if begun {
		r.Log.InfoContext(ctx, "renewing a certificate", "instance", which, "job", j.ID)
	}
	return begun, nil
}
