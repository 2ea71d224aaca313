package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/job"
)

// ImportOptions say how a machine becomes a host.
type ImportOptions struct {
	// Prepare are the fixes that Berth makes on the machine, by name; none: it changes nothing.
	Prepare []Fix `json:"prepare,omitempty"`
	// IgnoreWarnings goes on where a check has found something that is not as it should be.
	IgnoreWarnings bool `json:"ignore_warnings,omitempty"`
	// SkipInit is for a machine that is prepared already: nobody logs in, and nothing is looked
	// at but its engine.
	SkipInit bool `json:"skip_init,omitempty"`
	// Reserved has nothing placed there that does not name the host.
	Reserved bool `json:"reserved,omitempty"`
	// CPUMillis and MemoryBytes are what the machine was said to have; 0: what is found counts. No
	// more than that is given away.
	CPUMillis   int64 `json:"cpu_millis,omitempty"`
	MemoryBytes int64 `json:"memory_bytes,omitempty"`
}

// capacityOf returns what the host has to give away of what was found, and was declared.
func (h *Host) capacityOf(f Found) Capacity {
	if h.Import.CPUMillis > 0 {
		f.CPUMillis = min(f.CPUMillis, h.Import.CPUMillis)
	}
	if h.Import.MemoryBytes > 0 {
		f.MemoryBytes = min(f.MemoryBytes, h.Import.MemoryBytes)
	}
	return h.Capacity.Overcommit.capacity(f)
}

// declared says what the machine lacks of what it was said to have. Of its memory the kernel keeps
// some for itself.
func (o ImportOptions) declared(f EngineFacts) string {
	const kept = 10 // one part in so many
	var parts []string
	if o.CPUMillis > int64(f.CPUs)*1000 {
		parts = append(parts, fmt.Sprintf("%d cores instead of %d", f.CPUs, o.CPUMillis/1000))
	}
	if o.MemoryBytes-o.MemoryBytes/kept > f.MemoryBytes {
		parts = append(parts, fmt.Sprintf("%s of memory instead of %s", gibibytes(f.MemoryBytes), gibibytes(o.MemoryBytes)))
	}
	return strings.Join(parts, ", ")
}

// The steps of an import.
const (
	stepValidate = "validate"
	stepLogin    = "login"
	stepPrepare  = "prepare"
	stepVerify   = "verify"
	stepInstall  = "install"
	stepJoin     = "join"
	stepProof    = "proof"
	stepOnline   = "online"
)

func importPlan() []job.StepOf[*work] {
	return []job.StepOf[*work]{
		{Name: stepValidate, Timeout: time.Minute, Do: do((*work).validate)},
		{Name: stepLogin, Timeout: 2 * time.Minute, Do: do((*work).login)},
		{Name: stepPrepare, Timeout: 15 * time.Minute, Do: do((*work).prepare)},
		{Name: stepVerify, Timeout: 2 * time.Minute, Do: do((*work).verify)},
		{Name: stepInstall, Timeout: 20 * time.Minute, Do: do((*work).install)},
		{Name: stepJoin, Timeout: time.Minute, Do: do((*work).join)},
		{Name: stepProof, Timeout: 10 * time.Minute, Do: do((*work).proof), Redo: job.RedoAlways},
		{Name: stepOnline, Timeout: time.Minute, Do: do((*work).online)},
	}
}

// keeps reports whether an import of the host has the step.
func (o ImportOptions) keeps(h Host, step string) bool {
	switch step {
	case stepLogin, stepPrepare:
		return h.bySSH() && !o.SkipInit
	case stepVerify, stepInstall:
		return !o.SkipInit
	default:
		return true
	}
}

// validate looks whether what was said of the machine is right.
func (w *work) validate(ctx context.Context) error {
	err := w.Save(ctx, func(t job.Tx) error {
		if w.host.Region == "" && w.host.Zone == "" {
			return nil
		}
		known, err := within(t).PlaceKnown(w.host.Region, w.host.Zone)
		if err == nil && !known {
			err = fault.Errorf(fault.CodeInvalid, nil, "there is no zone %s in region %s; add it: berth hosts regions add %s %s",
				w.host.Zone, w.host.Region, w.host.Region, w.host.Zone)
		}
		return err
	})
	if err != nil {
		return err
	}
	w.Detail(ctx, stepValidate, strings.Trim(w.host.Domain(LevelRack), "/"))
	return nil
}

// login has the machine take Berth's key. The password is used once, and forgotten in the
// transaction that says that it is not needed any more; the machine's own key is pinned before it
// is sent.
func (w *work) login(ctx context.Context) error {
	if err := w.pin(ctx); err != nil {
		return err
	}
	private, line, err := w.cfg.Access.Key(ctx)
	if err != nil {
		return err
	}
	l, err := sshLogin(w.host)
	if err != nil {
		return err
	}
	if w.password, err = w.cfg.Access.password(ctx, w.host); err != nil {
		return err
	}
	if !w.password.Empty() {
		first := l
		first.Password = w.password
		if err := w.loggedIn(ctx, first, func(sh Shell) error { return InstallKey(ctx, sh, line) }); err != nil {
			return err
		}
	}
	l.Key = private
	if err := w.loggedIn(ctx, l, func(Shell) error { return nil }); err != nil {
		if fault.CodeOf(err) == fault.CodeLoginRefused && w.password.Empty() {
			return fault.Errorf(fault.CodeLoginRefused, err, "%s does not take Berth's key from %s: import it with a password, or add this line to authorized_keys there: %s",
				l.Address, l.User, line)
		}
		return err
	}
	err = w.save(ctx, func(tx Tx, _ *Host) error { return tx.DeleteHostSecrets(w.host.ID, secretPassword) })
	if err != nil {
		return err
	}
	w.Detail(ctx, stepLogin, "as "+l.User+", by Berth's key; the machine's key is pinned")
	return nil
}

// pin keeps the key that the machine shows at the first contact.
func (w *work) pin(ctx context.Context) error {
	if w.host.HostKey != "" {
		return nil
	}
	l, err := sshLogin(w.host)
	if err != nil {
		return err
	}
	key, err := w.cfg.Machines.HostKey(ctx, l.Address)
	if err != nil {
		return err
	}
	return w.save(ctx, func(_ Tx, h *Host) error {
		h.HostKey = key
		return nil
	})
}

// prepare makes the fixes that were asked for, each shown before and after.
func (w *work) prepare(ctx context.Context) error {
	var done []string
	for _, fix := range Fixes() {
		if !slices.Contains(w.host.Import.Prepare, fix) {
			continue
		}
		var disks []string
		if fix == FixMountOptions {
			if disks = paths(w.disks); len(disks) == 0 {
				continue
			}
		}
		// A new login for each: the first may have changed what the user may do.
		err := w.shell(ctx, func(sh Shell) error {
			p, err := Prepare(ctx, sh, fix, disks...)
			if err != nil {
				return w.explainScript(err, "fix "+string(fix))
			}
			done = append(done, fmt.Sprintf("%s: %s → %s", p.Fix, p.Before, p.After))
			return nil
		})
		if err != nil {
			return err
		}
		w.Detail(ctx, stepPrepare, strings.Join(done, "; "))
	}
	if len(done) == 0 {
		w.Detail(ctx, stepPrepare, "nothing was asked for")
	}
	return nil
}

// explainScript says what a script said that did not work.
func (w *work) explainScript(err error, what string) error {
	var script *ScriptError
	if !errors.As(err, &script) {
		return err
	}
	return fault.Errorf(fault.CodeChecksFailed, err, "%s could not be made on %s: %s", what, w.host.Name, cmp.Or(script.Said, script.Error()))
}

// paths gives the folders of the disks that have been named.
func paths(disks []Disk) []string {
	var list []string
	for _, d := range disks {
		if d.Path != "" {
			list = append(list, d.Path)
		}
	}
	return list
}

// verify checks whether the machine is fit, and keeps what was found.
func (w *work) verify(ctx context.Context) error {
	checks, err := w.look(ctx)
	if err != nil {
		return err
	}
	if err := w.save(ctx, func(_ Tx, h *Host) error { h.Checks = checks; return nil }); err != nil {
		return err
	}
	w.Detail(ctx, stepVerify, summary(checks))
	worst := Worst(checks)
	if worst == Pass || worst == Warn && w.host.Import.IgnoreWarnings {
		return nil
	}
	advice := "; import it with ignore_warnings to go on"
	if worst == Fail {
		advice = ""
	}
	return fault.Errorf(fault.CodeChecksFailed, nil, "%s%s", summary(checks), advice)
}

// look takes the inventory of the machine, where Berth can log in, and asks the engine. One that does not
// answer, and has a socket there, may be on its way back; a machine without one has none.
func (w *work) look(ctx context.Context) ([]Check, error) {
	r, err := w.cfg.Adapters.Runtime(w.host)
	if err != nil {
		return nil, err
	}
	facts, silent := r.Facts(ctx)
	if silent != nil && !w.host.bySSH() {
		return nil, silent
	}
	if !w.host.bySSH() { // the engine is all that can be asked
		inventory := Inventory{Clock: facts.Clock}
		return inventory.engineChecks(facts), nil
	}
	var checks []Check
	err = w.shell(ctx, func(sh Shell) error {
		begun := w.cfg.Now()
		inventory, err := TakeInventory(ctx, sh, facts.RootDir, paths(w.disks)...)
		if err != nil {
			return w.explainScript(err, "the inventory")
		}
		if fault.CodeOf(silent) == fault.CodeHostUnavailable && silent != nil && inventory.Socket == "accessible" {
			return silent
		}
		now := w.cfg.Now()
		checks = inventory.Checks(begun.Add(now.Sub(begun)/2), facts, paths(w.disks))
		more, err := loopChecks(ctx, sh, w.disks)
		checks = append(checks, more...)
		return err
	})
	return checks, err
}

// summary says in a line what checks have found that is not as it should be.
func summary(checks []Check) string {
	var parts []string
	for _, c := range checks {
		if c.Verdict != Pass {
			parts = append(parts, fmt.Sprintf("%s %s: %s, want %s", c.Name, c.Verdict, c.Found, c.Wanted))
		}
	}
	if len(parts) == 0 {
		return fmt.Sprintf("%d checks passed", len(checks))
	}
	return strings.Join(parts, "; ")
}

// install makes images and golden data present.
func (w *work) install(ctx context.Context) error {
	r, err := w.runtime(w.cfg.Adapters)
	if err != nil {
		return err
	}
	return w.cfg.Fitter.Install(ctx, w.host, r, func(text string) { w.Detail(ctx, stepInstall, text) })
}

// join makes the engine the host's own. No two hosts have the same.
func (w *work) join(ctx context.Context) error {
	if w.host.bySSH() { // of one that nobody has logged in to yet, the key is pinned here
		if err := w.pin(ctx); err != nil {
			return err
		}
	}
	r, err := w.cfg.Adapters.Runtime(w.host)
	if err != nil {
		return err
	}
	facts, err := r.Facts(ctx)
	if err != nil {
		return err
	}
	if w.host.Arch != "" && NormalArch(facts.Arch) != w.host.Arch {
		return fault.Errorf(fault.CodeChecksFailed, nil, "%s is %s, and was said to be %s", w.host.Name, facts.Arch, w.host.Arch)
	}
	if lacks := w.host.Import.declared(facts); lacks != "" && !w.host.Import.IgnoreWarnings {
		return fault.Errorf(fault.CodeChecksFailed, nil, "%s has %s; import it with ignore_warnings to go on with what is there", w.host.Name, lacks)
	}
	err = w.save(ctx, func(tx Tx, h *Host) error {
		all, err := tx.AllHosts()
		if err != nil {
			return err
		}
		for _, other := range all {
			if other.Engine == facts.ID && other.ID != h.ID {
				return engineKnown(other, facts)
			}
		}
		h.Engine, h.Arch, h.Found = facts.ID, NormalArch(facts.Arch), facts.found(w.cfg.Now())
		h.Capacity = h.capacityOf(h.Found)
		h.Health, h.HealthNote, h.HealthSince = Healthy, "", time.Time{}
		return nil
	})
	if fault.CodeOf(err) == fault.CodeHostExists {
		return engineKnown(Host{Name: "added at the same moment"}, facts)
	}
	if err != nil {
		return err
	}
	w.Detail(ctx, stepJoin, fmt.Sprintf("engine %s, %s; %d cores, %s of memory", facts.Version, facts.StorageDriver, facts.CPUs, gibibytes(facts.MemoryBytes)))
	return nil
}

func engineKnown(other Host, facts EngineFacts) error {
	message := fmt.Sprintf("the engine %s is that of host %s already", facts.ID, other.Name)
	if oldEngine(facts.Version) {
		message += "; where the two machines were made from one image, remove /etc/docker/key.json on one and restart its engine"
	}
	return fault.Errorf(fault.CodeEngineKnown, nil, "%s", message)
}

// oldEngine reports whether the engine keeps its id in /etc/docker/key.json.
func oldEngine(version string) bool {
	return strings.HasPrefix(version, "20.") || strings.HasPrefix(version, "19.") || strings.HasPrefix(version, "18.")
}

// proof starts a unit on the host, and uses it as a tenant would.
func (w *work) proof(ctx context.Context) error {
	r, err := w.runtime(w.cfg.Known)
	if err != nil {
		return err
	}
	shown, err := w.cfg.Fitter.Prove(ctx, w.host, r, w.proofUnit(), w.Claim().Fence, func(text string) { w.Detail(ctx, stepProof, text) })
	if err != nil {
		return err
	}
	return w.noteEnforcement(ctx, shown)
}

// proofUnit names the unit by which the host is proven.
func (w *work) proofUnit() UnitID {
	return UnitID(proofPrefix + strings.TrimPrefix(string(w.host.ID), Prefix))
}

// removeProof removes what a worker has left there that was ended while it proved the host. It is
// tried once: where the machine does not answer, a sweep or the next job does it.
func (w *work) removeProof(ctx context.Context) {
	if w.host.Engine == "" {
		return
	}
	r, err := w.runtime(w.cfg.Known)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, removeTimeout)
		defer cancel()
		err = r.Remove(ctx, w.proofUnit(), w.Claim().Fence, true)
	}
	if err != nil {
		w.Log().WarnContext(ctx, "what a host was proven with could not be removed", "host", w.host.Name, "error", err)
	}
}

// proofPrefix begins the ids of the units by which hosts are proven. Nothing is written of them.
const proofPrefix = "prf"

// online is the end of an import: the transaction that ends the job makes the host online.
func (w *work) online(ctx context.Context) error {
	return w.save(ctx, func(_ Tx, h *Host) error {
		h.Reserved = h.Reserved || h.Import.Reserved
		return nil
	})
}
