package hosttest

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// EnsureGolden makes golden data, which takes no time. The command "end" writes its
// first argument, and ends with a code that is as high as its second is long.
func (r *Runtime) EnsureGolden(ctx context.Context, g host.Golden, progress func(string)) (reference string, err error) {
	err = r.call(ctx, MethodEnsureGolden, "", func() error {
		if !r.machine.images[g.Image] {
			return fault.Errorf(fault.CodeImageUnavailable, nil, "image %s is not on the host", g.Image)
		}
		sum := fnv.New64a()
		_, _ = fmt.Fprintf(sum, "%+v", g)
		for _, f := range g.Files {
			_, _ = fmt.Fprint(sum, f.Content.Reveal())
		}
		made := fmt.Sprintf("golden:%x", sum.Sum64())
		if !r.machine.images[made] {
			if progress != nil {
				progress("making golden data of " + g.Name)
			}
			if c := g.Command; len(c) == 3 && c[0] == "end" {
				return fault.Errorf(fault.CodeImageUnavailable, nil, "it ended with code %d: %s", len(c[2]), c[1])
			}
			r.machine.images[made] = true
			r.machine.goldens[made]++
		}
		reference = made
		return nil
	})
	if err != nil {
		return "", err
	}
	return reference, nil
}

// Goldens counts how often golden data was made.
func (r *Runtime) Goldens() (n int) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	for _, count := range r.machine.goldens {
		n += count
	}
	return n
}

// RemoveImage removes an image.
func (r *Runtime) RemoveImage(reference string) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	delete(r.machine.images, reference)
}

// Forget removes golden data, unless the deployment has something there.
func (r *Runtime) Forget(ctx context.Context) error {
	return r.call(ctx, MethodForget, "", func() error {
		for _, v := range r.machine.volumes {
			if v.owner == r.deployment {
				return fault.Errorf(fault.CodeHostInUse, nil, "the host still has instances")
			}
		}
		for reference := range r.machine.goldens {
			delete(r.machine.images, reference)
		}
		return nil
	})
}
