package instance

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

const (
	// goldenPatience bounds how long a create waits for golden data, and half of what it
	// may take itself: on a machine that is too busy to make it, it is no quicker without.
	goldenPatience = 5 * time.Minute
	// goldenRest is how long golden data that could not be made is done without.
	goldenRest = 5 * time.Minute
)

// golden has the instance start from its engine's golden data, where that can be had.
// A repair has its data already.
func (w *work) golden(ctx context.Context) error {
	golden, ok := w.run.engine.Golden(w.instance())
	if !ok || w.Kind() != JobCreate {
		return nil
	}
	golden.Image = w.run.image
	what := fmt.Sprintf("%s on host %s", golden.Image, w.run.host.Name)
	if why, ok := w.goldens.resting(what, w.cfg.Now()); ok {
		w.Detail(ctx, "image", golden.Image+", without golden data: "+why)
		return w.tellOfGolden(ctx, what, why)
	}
	patience := max(min(goldenPatience, w.Deadline().Sub(w.cfg.Now())/2), 0).Round(time.Second)
	late := fault.Errorf(fault.CodeTimeout, nil, "it was not ready within %s", patience)
	patient, cancel := context.WithTimeoutCause(ctx, patience, late)
	ref, err := w.run.runtime.EnsureGolden(patient, golden, func(text string) { w.Detail(ctx, "image", text) })
	if err != nil && patient.Err() != nil {
		err = context.Cause(patient)
	}
	cancel()
	switch {
	case err == nil:
		w.run.image, w.run.golden = ref, true
		w.Detail(ctx, "image", ref)
		return nil
	case ctx.Err() != nil:
		return err
	}
	w.Detail(ctx, "image", golden.Image+", without golden data: "+fault.Explain(err))
	return w.goldenFailed(ctx, what, err)
}

// goldenFailed has it done without for a while.
func (w *work) goldenFailed(ctx context.Context, what string, cause error) error {
	if w.goldens.begin(what, fault.Explain(cause), w.cfg.Now()) {
		w.Log.WarnContext(ctx, "golden data could not be created; new instances initialise their own data",
			"of", what, "again_after", goldenRest.String(), "error", cause)
	}
	return w.tellOfGolden(ctx, what, fault.Explain(cause))
}

// tellOfGolden announces it once for all tenants: nobody hears what happens to warm
// instances.
func (w *work) tellOfGolden(ctx context.Context, what, why string) error {
	if w.instance().Tenant == tenant.Nobody || !w.goldens.tell(what, true) {
		return nil
	}
	message := fmt.Sprintf("the golden data of %s could not be created (%s): this instance and later ones initialise their own data, "+
		"which takes a little longer; Berth tries again after %s", what, why, goldenRest)
	err := w.save(ctx, func(tx Tx) error {
		return announce(w.Engine, tx, EventGoldenFailed, w.inst, w.Claim().Job, message, w.cfg.Now())
	})
	if err != nil {
		w.goldens.tell(what, false)
	}
	return err
}

// resting remembers the golden data that this process does without for a while.
type resting struct {
	mu    sync.Mutex
	until map[string]rest
}

type rest struct {
	over time.Time
	why  string
	told bool
}

// resting reports whether it is done without now, and why.
func (r *resting) resting(what string, now time.Time) (why string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest, ok := r.until[what]
	return rest.why, ok && rest.over.After(now)
}

// begin reports whether the rest was not begun before.
func (r *resting) begin(what, why string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until[what].over.After(now) {
		return false
	}
	r.until[what] = rest{over: now.Add(goldenRest), why: why}
	return true
}

// tell notes whether tenants were told of the rest, and reports whether that is new.
func (r *resting) tell(what string, told bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest := r.until[what]
	changed := rest.told != told
	rest.told = told
	r.until[what] = rest
	return changed
}
