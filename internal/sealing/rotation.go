package sealing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/secret"
)

// Rotation seals everything anew, in envelopes of the keyring's first master key, while
// processes work. It keeps nothing but what it changes: one that was cut off at any point is
// begun again and goes on, and one that has ended does nothing.
type Rotation struct {
	Store      Store
	Keyring    *secret.Keyring
	Deployment string
	Lost       []string // ids of master keys that are lost for good
	Now        clock.Clock
	// Wait is called between two looks at whether the processes have changed over.
	Wait func(context.Context) error
	// Tell hears how far it is; nil: nobody does.
	Tell func(Progress)
}

// Progress is how far a rotation is.
type Progress struct {
	Kind     Kind // what is sealed anew now; empty: nothing
	Resealed int  // of this kind, in this pass
	// Awaited are the processes that may write with the old key for some seconds yet.
	Awaited []string
}

// Report is how a rotation has ended.
type Report struct {
	Resealed int
	// Left counts the values that are needed and still have another key id.
	Left []Count
	// Closed are some values that could not be opened, and are as they were.
	Closed []Value
}

const (
	rotationBatch = 100
	maxClosed     = 10
	// maxPasses ends a rotation beside a process of an older release, which goes on writing as
	// it always has.
	maxPasses = 20
)

// Run rotates. The processes that are known must all have the new key.
func (r *Rotation) Run(ctx context.Context) (Report, error) {
	var report Report
	target := secret.Enveloped(r.Keyring.First())
	if err := r.ready(ctx, target); err != nil {
		return report, err
	}
	if err := r.begin(ctx, target); err != nil {
		return report, err
	}
	for passes, again := 0, true; again && passes < maxPasses; passes++ {
		report.Closed = nil
		done, err := r.pass(ctx, target, &report)
		if report.Resealed += done; err != nil {
			return report, err
		}
		waited, err := r.await(ctx, target)
		if err != nil {
			return report, err
		}
		again = waited || done > 0
	}
	counts, err := r.Store.CountSealed(ctx)
	report.Left = slices.DeleteFunc(counts, func(c Count) bool { return c.KeyID == target })
	return report, err
}

// ready fails where a process that works has not the new key: it could not read what the
// others write.
func (r *Rotation) ready(ctx context.Context, target string) error {
	without, err := r.holders(ctx, func(h Holder) bool { return !slices.Contains(h.Keys, secret.MasterKeyOf(target)) })
	if err == nil && len(without) > 0 {
		err = fmt.Errorf("processes without master key %s: %s; nothing was changed. Put the key first in BERTH_MASTER_KEY of each and restart it. "+
			"A process that was killed counts for two minutes", secret.MasterKeyOf(target), strings.Join(without, ", "))
	}
	return err
}

// holders names the processes that work and that the question is true of.
func (r *Rotation) holders(ctx context.Context, is func(Holder) bool) ([]string, error) {
	all, err := r.Store.Holders(ctx, r.Now().Add(-Gone))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, h := range all {
		if is(h) {
			names = append(names, h.Owner)
		}
	}
	return names, nil
}

// begin has every process seal with the new key from now on.
func (r *Rotation) begin(ctx context.Context, target string) error {
	if err := r.Keyring.SealAs(target); err != nil {
		return err
	}
	fresh, err := SealCheck(r.Keyring, r.Deployment)
	if err != nil {
		return err
	}
	for {
		check, err := r.Store.KeyCheck(ctx)
		switch {
		case errors.Is(err, fault.ErrNotFound):
			err = r.Store.InsertKeyCheck(ctx, fresh)
		case err != nil:
		case !opens(r.Keyring, r.Deployment, check) && !slices.Contains(r.Lost, secret.MasterKeyOf(check.KeyID)):
			return ErrOtherKey
		case check.KeyID != target:
			err = r.Store.ReplaceKeyCheck(ctx, check, fresh)
		}
		if !errors.Is(err, fault.ErrConflict) {
			return err
		}
	}
}

// pass goes once through everything.
func (r *Rotation) pass(ctx context.Context, target string, report *Report) (done int, err error) {
	for _, kind := range Kinds() {
		of := 0
		for last := (Value{Kind: kind}); ; {
			if err := r.stillOurs(ctx, target); err != nil {
				return done, err
			}
			values, err := r.Store.SealedValues(ctx, kind, target, last, rotationBatch)
			if err != nil {
				return done, err
			}
			if len(values) == 0 {
				break
			}
			last = values[len(values)-1]
			n, err := r.Store.Reseal(ctx, r.reseal(values, report))
			done, of = done+n, of+n
			if err != nil {
				return done, err
			}
			r.tell(Progress{Kind: kind, Resealed: of})
		}
	}
	return done, nil
}

// stillOurs fails where somebody rotates to another key: the two would never end.
func (r *Rotation) stillOurs(ctx context.Context, target string) error {
	check, err := r.Store.KeyCheck(ctx)
	if err == nil && check.KeyID != target {
		err = fmt.Errorf("another rotation has begun, to master key %s; this one has stopped", secret.MasterKeyOf(check.KeyID))
	}
	return err
}

// reseal seals anew what can be opened.
func (r *Rotation) reseal(values []Value, report *Report) []Change {
	changes := make([]Change, 0, len(values))
	for _, v := range values {
		var after secret.Sealed
		plain, err := r.Keyring.Open(v.Sealed, v.place())
		if err == nil {
			after, err = r.Keyring.Seal(plain, v.place())
		}
		switch {
		case err == nil:
			changes = append(changes, Change{Before: v, After: after})
		case len(report.Closed) < maxClosed:
			report.Closed = append(report.Closed, v)
		}
	}
	return changes
}

// await waits until every process has said that it writes with the new key, and reports
// whether it had to.
func (r *Rotation) await(ctx context.Context, target string) (waited bool, err error) {
	for {
		late, err := r.holders(ctx, func(h Holder) bool { return h.Sealing != target })
		if err != nil || len(late) == 0 {
			return waited, err
		}
		waited = true
		r.tell(Progress{Awaited: late})
		if err := r.Wait(ctx); err != nil {
			return waited, err
		}
		if err := r.stillOurs(ctx, target); err != nil {
			return waited, err
		}
	}
}

func (r *Rotation) tell(p Progress) {
	if r.Tell != nil {
		r.Tell(p)
	}
}
