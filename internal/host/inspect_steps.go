package host

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
)

const (
	stepChecks = "checks"
	stepLedger = "ledger"
	stepAdopt  = "adopt"
)

// EventDrift is the type of the event that the books of a host were not right.
const EventDrift = "host.drift"

func inspectPlan() []job.StepOf[*work] {
	return []job.StepOf[*work]{
		{Name: stepChecks, Timeout: 2 * time.Minute, Do: do((*work).checks)},
		{Name: stepLedger, Timeout: 5 * time.Minute, Do: do((*work).ledger)},
	}
}

// checks looks at the machine as an import does, and keeps what was found. Nothing is refused.
func (w *work) checks(ctx context.Context) error {
	checks, err := w.look(ctx)
	if err != nil {
		return err
	}
	r, err := w.cfg.Known.Runtime(w.host)
	if err != nil {
		return err
	}
	facts, err := r.Facts(ctx)
	if err != nil {
		return err
	}
	drift := ""
	err = w.save(ctx, func(tx Tx, h *Host) error {
		found := facts.found(w.cfg.Now())
		drift = shrunk(h.Found, found)
		h.Checks, h.Found = checks, found
		if c := h.capacityOf(found); fitsIn(h.Used, c) {
			h.Capacity = c
		} else {
			drift = strings.TrimPrefix(drift+"; more is given away than the machine has now", "; ")
		}
		if drift == "" {
			return nil
		}
		return announce(w.Engine(), tx, EventDrift, *h, w.Claim().Job, drift, w.cfg.Now())
	})
	if err != nil {
		return err
	}
	w.Detail(ctx, stepChecks, strings.TrimPrefix(drift+"; "+summary(checks), "; "))
	return nil
}

// shrunk says what a machine has less of than before.
func shrunk(before, now Found) string {
	var parts []string
	if before.CPUMillis > now.CPUMillis {
		parts = append(parts, fmt.Sprintf("%d cores instead of %d", now.CPUMillis/1000, before.CPUMillis/1000))
	}
	if before.MemoryBytes > now.MemoryBytes {
		parts = append(parts, fmt.Sprintf("%s of memory instead of %s", gibibytes(now.MemoryBytes), gibibytes(before.MemoryBytes)))
	}
	return strings.Join(parts, ", ")
}

func fitsIn(u Used, c Capacity) bool {
	return (c.CPUMillis == 0 || u.CPUMillis <= c.CPUMillis) && (c.MemoryBytes == 0 || u.MemoryBytes <= c.MemoryBytes)
}

// ledger compares the books with themselves, with what instances say, and with what the engine
// really has. What is safe is mended: counters and what is left over. What the host has or lacks
// of a unit is the sweep's to mend.
func (w *work) ledger(ctx context.Context) error {
	var found []string
	err := w.Save(ctx, func(t job.Tx) error {
		wrong, err := within(t).Recount(w.host.ID)
		if err == nil && wrong {
			found = append(found, "what was used was not the sum of the allocations")
		}
		return err
	})
	if err != nil {
		return err
	}
	settled, err := (&books{store: w.cfg.Store, now: w.cfg.Now, log: w.Log()}).settle(ctx, w.host)
	if found = append(found, settled...); err != nil {
		return err
	}
	more, err := w.compare(ctx)
	if err != nil {
		return err
	}
	found = append(found, more...)
	if more, err = w.compareLoops(ctx); err != nil {
		return err
	}
	found = append(found, more...)
	if len(found) == 0 {
		w.Detail(ctx, stepLedger, "the books are right")
		return nil
	}
	text := clip(strings.Join(found, "; "), maxReason)
	w.Detail(ctx, stepLedger, text)
	return w.Save(ctx, func(t job.Tx) error {
		h, err := within(t).HostRow(w.host.ID)
		if err != nil {
			return err
		}
		return announce(w.Engine(), t, EventDrift, h, w.Claim().Job, text, w.cfg.Now())
	})
}

// compare says what the engine has that is not in the books, and the other way round.
func (w *work) compare(ctx context.Context) ([]string, error) {
	r, err := w.cfg.Known.Runtime(w.host)
	if err != nil {
		return nil, err
	}
	units, err := r.List(ctx)
	if err != nil {
		return nil, err
	}
	there, containers := map[UnitID]bool{}, map[UnitID]bool{}
	for _, u := range units {
		there[u.ID], containers[u.ID] = true, u.Container
	}
	own, shown := w.ownDisk(), Enforcement("")
	var found []string
	for after := UnitID(""); ; {
		held, err := w.cfg.Store.Allocations(ctx, AllocationFilter{Host: w.host.ID}, after, reconcileBatch)
		if err != nil {
			return nil, err
		}
		for _, a := range held {
			after = a.Unit
			if !there[a.Unit] && a.CreatedAt.Before(w.cfg.Now().Add(-booksGrace)) {
				found = append(found, fmt.Sprintf("%s is in the books, and the engine has nothing of it", a.Unit))
			}
			delete(there, a.Unit)
			if !containers[a.Unit] {
				continue
			}
			u, err := r.Inspect(ctx, a.Unit)
			if fault.IgnoreNotFound(err) != nil {
				return nil, err
			}
			if err != nil {
				continue // it went meanwhile
			}
			if a.Disk == own && (shown == "" || u.Enforcement == EnforcedByQuota) {
				shown = u.Enforcement
			}
			if other := sizes(u, a); other != "" {
				found = append(found, other)
			}
		}
		if len(held) < reconcileBatch {
			break
		}
	}
	for unit := range there {
		found = append(found, fmt.Sprintf("the engine has %s, which is not in the books", unit))
	}
	return found, w.noteEnforcement(ctx, shown)
}

// ownDisk gives the disk that is the engine's own folder; empty: there is none.
func (w *work) ownDisk() DiskID {
	for _, d := range w.disks {
		if d.Path == "" {
			return d.ID
		}
	}
	return ""
}

// sizes says where a unit may use something else than the books say; empty: it may not. What it may
// use changes only when its container is made anew.
func sizes(u Unit, a Allocation) string {
	var parts []string
	if u.CPUMillis != a.Resources.CPUMillis {
		parts = append(parts, fmt.Sprintf("%d millicores instead of %d", u.CPUMillis, a.Resources.CPUMillis))
	}
	if u.MemoryBytes != a.Resources.MemoryBytes {
		parts = append(parts, fmt.Sprintf("%s of memory instead of %s", gibibytes(u.MemoryBytes), gibibytes(a.Resources.MemoryBytes)))
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("%s may use %s", a.Unit, strings.Join(parts, " and "))
}

func takeoverPlan() []job.StepOf[*work] {
	return []job.StepOf[*work]{
		{Name: stepValidate, Timeout: time.Minute, Do: do((*work).validate)},
		{Name: stepLogin, Timeout: 2 * time.Minute, Do: do((*work).login)},
		{Name: stepJoin, Timeout: time.Minute, Do: do((*work).join)},
		{Name: stepAdopt, Timeout: 10 * time.Minute, Do: do((*work).adopt), Redo: job.RedoAlways},
		{Name: stepOnline, Timeout: time.Minute, Do: do((*work).online)},
	}
}

// adopt matches what the host has of this deployment with what is written. The rest is listed
// and left.
func (w *work) adopt(ctx context.Context) error {
	r, err := w.runtime(w.cfg.Known)
	if err != nil {
		return err
	}
	units, err := r.List(ctx)
	if err != nil {
		return err
	}
	adopted, unknown := 0, []string{}
	for _, u := range units {
		ok, err := w.cfg.Residents.Rehome(ctx, w.host, u)
		if fault.CodeOf(err) == fault.CodeBusy && err != nil {
			ok, err = false, nil // its own job decides what becomes of it
		}
		if err != nil {
			return err
		}
		if ok {
			adopted++
		} else {
			unknown = append(unknown, string(u.ID))
		}
	}
	// What they hold is in the books before anything else is placed there.
	if _, err := (&books{store: w.cfg.Store, now: w.cfg.Now, log: w.Log()}).settle(ctx, w.host); err != nil {
		return err
	}
	text := fmt.Sprintf("%d adopted", adopted)
	if len(unknown) > 0 {
		text += clip(fmt.Sprintf("; left as they are, because nothing is written of them, or a job is at them: %s", strings.Join(unknown, ", ")), maxReason)
	}
	w.Detail(ctx, stepAdopt, text)
	return nil
}

// Takeover accepts a machine that has units of this deployment already, as a host that is
// reserved.
func (s *Service) Takeover(ctx context.Context, p tenant.Principal, c Candidate) (h Host, j job.Job, err error) {
	if ctx, err = s.enter(ctx, p); err != nil {
		return Host{}, job.Job{}, err
	}
	made, err := s.candidates(ctx, []Candidate{c}, nil, ImportOptions{Reserved: true})
	if err != nil {
		return Host{}, job.Job{}, err
	}
	n := made[0]
	n.host.TakenOver = true
	err = s.cfg.Store.Tx(ctx, func(tx Tx) error {
		if err := s.insertHost(tx, n); err != nil {
			return err
		}
		if j, err = s.cfg.Jobs.New(JobTakeover, subjectOf(n.host), "", importDeadline); err != nil {
			return err
		}
		j.Tenant, j.Class = tenant.Pool, class
		j.Steps = keep(j.Steps, func(step string) bool { return step != stepLogin || n.host.bySSH() })
		if err := s.cfg.Jobs.Insert(tx, j); err != nil {
			return err
		}
		if err := announce(s.cfg.Jobs, tx, "host.importing", n.host, j.ID, "takeover accepted", s.cfg.Now()); err != nil {
			return err
		}
		return s.note(tx, p, tenant.Deed{Action: tenant.ActHostTakeover, Tenant: tenant.Pool, On: string(n.host.ID), Job: j.ID, Detail: "name " + n.host.Name})
	})
	if err != nil {
		return Host{}, job.Job{}, err
	}
	return n.host, j, nil
}
