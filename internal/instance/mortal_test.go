package instance_test

import (
	"context"
	"slices"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms/roomstest"
)

// runMortal lets a worker that dies at its nth call run the job.
func (w *world) runMortal(id id.Job, n int, after bool) *hosttest.Life {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	l := hosttest.NewLife(n, after, cancel)
	runtimes := hosttest.NewRuntimes(hosttest.MortalRuntime(w.runtime, l))
	runner := w.runnerOn(roomstest.MortalStore{Store: w.store, Life: l}, runtimes, "mortal", clock.System)
	_ = runner.Run(ctx, id) // whatever it says: it is dead
	return l
}

// callsOf gives what a run calls, in order, when nothing goes wrong.
func (w *world) callsOf(id id.Job) []string {
	w.Helper()
	l := w.runMortal(id, -1, false)
	if j := w.job(id); j.State != job.Succeeded {
		w.Fatalf("dry run: job is %s: %+v", j.State, j.Error)
	}
	return l.Calls()
}

// methodsOf gives the calls to the host, each once.
func methodsOf(calls []string) []hosttest.Method {
	var methods []hosttest.Method
	for _, m := range hosttest.Methods() {
		if slices.Contains(calls, string(m)) {
			methods = append(methods, m)
		}
	}
	return methods
}
