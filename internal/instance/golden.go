package instance

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
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
	if failure, ok := w.goldens.Get(what, w.cfg.Now()); ok {
		w.Detail(ctx, "image", golden.Image+", without golden data: "+failure.why)
		return w.tellOfGolden(ctx, what, failure.why)
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
	if w.goldens.Add(what, goldenFailure{why: fault.Explain(cause)}, w.cfg.Now(), goldenRest) {
		w.Log().WarnContext(ctx, "golden data could not be created; new instances initialise their own data",
			"of", what, "again_after", goldenRest.String(), "error", cause)
	}
	return w.tellOfGolden(ctx, what, fault.Explain(cause))
}

// tellOfGolden announces it once for all tenants: nobody hears what happens to warm
// instances.
func (w *work) tellOfGolden(ctx context.Context, what, why string) error {
	if w.instance().Stock() || !w.markGoldenTold(what, true) {
		return nil
	}
	message := fmt.Sprintf("the golden data of %s could not be created (%s): this instance and later ones initialise their own data, "+
		"which takes a little longer; Berth tries again after %s", what, why, goldenRest)
	err := w.save(ctx, func(tx Tx) error {
		return announce(w.Engine(), tx, EventGoldenFailed, w.inst, w.Claim().Job, message, w.cfg.Now())
	})
	if err != nil {
		w.markGoldenTold(what, false)
	}
	return err
}

// goldenFailure is why golden data is done without for a while.
type goldenFailure struct {
	why  string
	told bool // to the tenants
}

// markGoldenTold notes whether tenants were told of the failure, and reports whether that is
// new.
func (w *work) markGoldenTold(what string, told bool) (changed bool) {
	w.goldens.Change(what, w.cfg.Now(), func(f *goldenFailure) {
		changed, f.told = f.told != told, told
	})
	return changed
}
