package hosttest

import (
	"errors"

	"github.com/berth-project/berth/internal/host"
)

// ErrDiskRefused is the answer to Write while writes are refused.
var ErrDiskRefused = errors.New("writes are refused")

// Write has the unit's server store so many bytes more, or fewer, which is never refused.
func (r *Runtime) Write(id host.UnitID, bytes int64) error {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	v := r.machine.volumes[id]
	switch {
	case v == nil:
		return errNothingRuns
	case bytes > 0 && v.refuses:
		return ErrDiskRefused
	}
	v.used += bytes
	return nil
}

// KeepDisk gives what the unit's server stores, and has it refuse writes as the function says.
func (r *Runtime) KeepDisk(id host.UnitID, refuse func(int64) bool) (int64, error) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	v := r.machine.volumes[id]
	if v == nil {
		return 0, errNothingRuns
	}
	v.refuses = refuse(v.used)
	return v.used, nil
}

// DiskOf gives the folder that the data of the unit is below; empty: the engine's own, or there is none.
func (r *Runtime) DiskOf(id host.UnitID) string {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	if v := r.machine.volumes[id]; v != nil {
		return v.disk
	}
	return ""
}

// SetQuota has the driver of volumes in the engine's own folder refuse what goes beyond their size.
func (r *Runtime) SetQuota() {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	r.machine.quota = true
}

var errNothingRuns = errors.New("nothing runs")
