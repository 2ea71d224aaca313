package docker

import (
	"testing"
	"time"

	"github.com/berth-project/berth/internal/host"
)

// A server is known to have run out of memory also where it is not the container's first
// process, and where nobody listened when it did.
func TestOutOfMemoryIsTold(t *testing.T) {
	for name, listens := range map[string]bool{"listening": true, "not listening": false} {
		t.Run(name, func(t *testing.T) {
			local := newRealEngine(t)
			r, w := local.runtime(t), local.workload(t)
			w.Command = []string{"/bin/sh", "-c", "sleep 1; tail /dev/zero; exit $?"}
			news := make(<-chan host.UnitID)
			if listens {
				news = watch(t, r)
			}
			start(t, r, w)
			if listens {
				hear(t, news, w.Unit, time.Minute)
			}
			waitForEnd(t, r, w.Unit)
			if u, err := r.Inspect(t.Context(), w.Unit); err != nil || !u.OOMKilled || u.ExitCode != killed {
				t.Errorf("it is %+v (%v), want OOMKilled", u, err)
			}
		})
	}
}

// What was killed by somebody has not run out of memory.
func TestKilledIsNotOutOfMemory(t *testing.T) {
	local := newRealEngine(t)
	r, w := local.runtime(t), local.workload(t)
	start(t, r, w)
	if err := local.api.ContainerKill(t.Context(), nameOf(w.Unit), "KILL"); err != nil {
		t.Fatal(err)
	}
	waitForEnd(t, r, w.Unit)
	if u, err := r.Inspect(t.Context(), w.Unit); err != nil || u.OOMKilled || u.ExitCode != killed {
		t.Errorf("it is %+v (%v)", u, err)
	}
}
