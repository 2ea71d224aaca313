package instance_test

import (
	"errors"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
)

func (w *world) relayOnce(r relays) int {
	w.Helper()
	n, err := r.RunOnce(w.ctx)
	w.must(err)
	return n
}

// A job that was accepted while the queue was down is woken once it is up.
func TestAcceptedWhileTheQueueIsDown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.queue.SetDown(true)
		a := w.create()
		w.pass(10 * time.Second)
		for range 3 {
			if _, err := w.relay.RunOnce(w.ctx); fault.CodeOf(err) != fault.CodeUnavailable {
				w.Errorf("relay says %v", err)
			}
		}
		if len(w.queue.Take()) != 0 {
			w.Fatal("the queue was not down")
		}
		w.queue.SetDown(false)
		if n := w.relayOnce(w.relay); n != 1 {
			w.Errorf("%d woken", n)
		}
		w.runTasks()
		w.usable(a.Job.ID)
	})
}

// A task that the queue forgot is made again, however often that happens.
func TestLostTasks(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.create()
		for range 5 {
			w.queue.Flush()
			w.pass(6 * time.Second)
			if n := w.relayOnce(w.relay); n != 1 {
				w.Errorf("%d woken", n)
			}
		}
		w.runTasks()
		w.usable(a.Job.ID)
	})
}

// The relay leaves a job alone that has just been accepted, or that somebody works
// on, or whose task waits.
func TestRelayLeavesAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.create()
		if n := w.relayOnce(w.relay); n != 0 {
			w.Errorf("%d woken right after the accept", n)
		}
		w.pass(3 * time.Second)
		w.relayOnce(w.relay)
		if n := w.relayOnce(w.relay); n != 0 {
			w.Errorf("%d woken twice", n)
		}
		if tasks := w.queue.Take(); len(tasks) != 1 {
			w.Errorf("%d tasks", len(tasks))
		}
		w.runOnce(a.Job.ID)
		w.pass(time.Hour)
		if w.relayOnce(w.relay); w.job(a.Job.ID).Generation != 1 {
			w.Error("an ended job was touched")
		}
	})
}

// A task that a vanished worker has begun blocks its id: the job gets another one.
func TestConflictTakesANewGeneration(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.create()
		w.queue.Take() // and its worker is gone
		w.pass(5 * time.Second)
		if n := w.relayOnce(w.relay); n != 1 {
			w.Errorf("%d woken", n)
		}
		if g := w.job(a.Job.ID).Generation; g != 2 {
			w.Errorf("generation %d", g)
		}
		tasks := w.queue.Take()
		if len(tasks) != 1 || tasks[0].Generation != 2 {
			w.Errorf("tasks %+v", tasks)
		}
		// The next one is blocked, too, and so is the one after.
		w.pass(6 * time.Second)
		w.relayOnce(w.relay)
		w.runTasks()
		w.usable(a.Job.ID)
	})
}

// Of two relays one acts; when it is gone, the other one does.
func TestRelayDutyIsExclusive(t *testing.T) {
	inWorld(t, func(w *world) {
		other := w.relaysOf("w2")
		w.create()
		w.pass(5 * time.Second)
		if w.relayOnce(w.relay) != 1 || w.relayOnce(other) != 0 {
			w.Error("two relays at once")
		}
		for range 5 {
			w.pass(job.RelayEvery)
			w.queue.Flush()
			w.relayOnce(w.relay)
			if n := w.relayOnce(other); n != 0 {
				w.Errorf("the other one woke %d", n)
			}
		}
		w.pass(10 * time.Second)
		w.queue.Flush()
		if n := w.relayOnce(other); n != 1 {
			w.Errorf("the first is gone, and the other one woke %d", n)
		}
	})
}

// The janitor removes what is old, and nothing that is needed.
func TestJanitor(t *testing.T) {
	inWorld(t, func(w *world) {
		old := w.created()
		w.spin(w.delete(old.ID).Job.ID)
		lives := w.created()
		janitor := &rooms.Janitor{Store: w.store, Now: clock.System, Owner: "w1", Retention: 24 * time.Hour}
		if n, err := janitor.RunOnce(w.ctx); n != 0 || err != nil {
			w.Errorf("%d removed, %v", n, err)
		}
		w.pass(25 * time.Hour)
		if n, err := janitor.RunOnce(w.ctx); n == 0 || err != nil {
			w.Errorf("%d removed, %v", n, err)
		}
		if _, err := w.store.Instance(w.ctx, old.ID); !errors.Is(err, fault.ErrNotFound) {
			w.Errorf("the deleted instance: %v", err)
		}
		if w.instance(lives.ID).State != instance.StateRunning || w.port(lives.ID) == 0 || w.password(lives.ID) == "" {
			w.Error("the janitor touched what lives")
		}
	})
}
