package docker

import (
	"context"
	"errors"
	"strings"

	"github.com/docker/docker/api/types/volume"

	"github.com/berth-project/berth/internal/host"
)

// boundedVolume makes the workload's volume, bounded by its driver where that can be: the
// disk must have project quotas (XFS mounted with pquota, for one). Whether it can is what the
// driver answers; one that cannot is not asked again by this process.
func (r *Runtime) boundedVolume(ctx context.Context, w host.Workload) (volume.Volume, error) {
	if w.Disk != "" {
		return r.diskVolume(ctx, w)
	}
	if r.engine.unbounded.Load() {
		return r.engine.createVolume(ctx, volumeOf(w, r.deployment, false))
	}
	options := volumeOf(w, r.deployment, true)
	v, err := r.engine.createVolume(ctx, options)
	if err == nil || options.DriverOpts == nil || !refusesSize(err) {
		return v, err
	}
	r.engine.unbounded.Store(true)
	r.log.DebugContext(ctx, "the driver of volumes has no quotas; disk is measured only", "error", err)
	return r.engine.createVolume(ctx, volumeOf(w, r.deployment, false))
}

// refusesSize reports whether a driver does not know the size of a volume, or cannot keep to
// it: "quota size requested but no quota support", and in older engines "invalid option: size".
func refusesSize(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if text := err.Error(); strings.Contains(text, "no quota support") || strings.Contains(text, "invalid option") {
			return true
		}
	}
	return false
}
