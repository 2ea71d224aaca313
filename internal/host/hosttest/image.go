package hosttest

import (
	"context"

	"github.com/berth-project/berth/internal/fault"
)

// EnsureImage makes one of the references present. A pull takes no time unless
// HoldPulls says so.
func (r *Runtime) EnsureImage(ctx context.Context, references []string, progress func(string)) (string, error) {
	fault, err := r.enter(ctx, MethodEnsureImage, "")
	if err != nil {
		return "", err
	}
	reference, err := r.ensureImage(ctx, references, progress)
	if err == nil && fault.After {
		return "", fault.error()
	}
	return reference, err
}

func (r *Runtime) ensureImage(ctx context.Context, references []string, progress func(string)) (string, error) {
	if len(references) == 0 {
		return "", fault.Errorf(fault.CodeInternal, nil, "no image is named")
	}
	if present, ok := r.present(references); ok {
		return present, nil
	}
	wanted := references[0]
	hold := r.machine.joinPull(wanted)
	if progress != nil {
		progress("pulling 50% (1 MB of 2 MB)")
	}
	if err := (Fault{Hold: hold}).wait(ctx); err != nil {
		r.machine.leavePull(wanted)
		return "", err
	}
	return wanted, r.machine.endPull(wanted)
}

func (r *Runtime) present(references []string) (string, bool) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	for _, reference := range references {
		if r.machine.images[reference] {
			return reference, true
		}
	}
	return "", false
}

// joinPull begins the pull, or waits for the one that is under way.
func (m *machine) joinPull(reference string) (hold <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting[reference] == 0 && !m.images[reference] {
		m.pulls[reference]++
	}
	m.waiting[reference]++
	return m.hold
}

// leavePull ends the pull where nobody else waits for it.
func (m *machine) leavePull(reference string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting[reference]--
}

func (m *machine) endPull(reference string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting[reference]--
	if m.noRegistry {
		return fault.Errorf(fault.CodeImageUnavailable, nil,
			"image %s is not on the host and could not be pulled; run scripts/images.sh on the host", reference)
	}
	m.images[reference] = true
	return nil
}

// AddImages makes images present.
func (r *Runtime) AddImages(references ...string) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	for _, reference := range references {
		r.machine.images[reference] = true
	}
}

// NoRegistry makes every pull fail from now on.
func (r *Runtime) NoRegistry() {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	r.machine.noRegistry = true
}

// HoldPulls keeps every pull from ending until the channel is closed.
func (r *Runtime) HoldPulls(until <-chan struct{}) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	r.machine.hold = until
}

// Pulls counts the pulls that were begun.
func (r *Runtime) Pulls() int {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	n := 0
	for _, count := range r.machine.pulls {
		n += count
	}
	return n
}
