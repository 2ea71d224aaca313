//go:build chaos

package main

import (
	"fmt"
	"os"
	"syscall"

	"github.com/berth-project/berth/internal/provision"
)

// onStep lets a worker that is built for chaos tests end itself, as a power cut
// would, at the point that BERTH_CHAOS_KILL names: "instance.create/start/before".
func onStep() func(provision.JobKind, string, bool) {
	point := os.Getenv("BERTH_CHAOS_KILL")
	if point == "" {
		return nil
	}
	return func(kind provision.JobKind, step string, after bool) {
		when := "before"
		if after {
			when = "after"
		}
		if fmt.Sprintf("%s/%s/%s", kind, step, when) == point {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // nothing more happens here
		}
	}
}
