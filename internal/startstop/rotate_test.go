package startstop

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// keys starts a verb of `berth keys` that works on the database.
func (w *world) keys(verb string, more ...string) *testenv.Process {
	w.Helper()
	return testenv.Start(w.T, binary, slices.Concat(w.settings, more), "keys", verb)
}

// rotated runs `berth keys rotate` to its end, and gives what it says.
func (w *world) rotated(more ...string) string {
	w.Helper()
	p := w.keys("rotate", more...)
	p.Finish(startLimit)
	return p.Log()
}

// notRotated runs a `berth keys rotate` that must change nothing.
func (w *world) notRotated(what string, words []string, more ...string) {
	w.Helper()
	before := w.traces()
	p := w.keys("rotate", more...)
	<-p.Done()
	if _, err := p.Ended(); err == nil || !containsAll(p.Log(), words) {
		w.Errorf("%s: it ended with %v and said %q, want %q in it", what, err, p.Log(), words)
	}
	if after := w.traces(); w.databaseURL[:5] == mysql && after != before {
		w.Errorf("%s: it has left\n%s\nof\n%s", what, after, before)
	}
}

// TestRotateKeys replaces the master key while processes work. A rotation is killed in
// between, and run again.
func TestRotateKeys(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			w := newProduction(t, dialect)
			old, fresh := w.masterKey, newKey()
			both := "BERTH_MASTER_KEY=" + fresh + ", " + old
			w.migrated()
			w.notRotated("nothing used yet", []string{"nothing to re-encrypt"}, both)
			api, worker := w.start("api"), w.start("worker")
			w.ready(api)
			logs(t, worker, "worker ready")
			w.make()
			w.notRotated("nobody has the new key", []string{keyID(fresh), fmt.Sprint(":", api.Pid(), ":"), fmt.Sprint(":", worker.Pid(), ":")}, both)
			w.notRotated("without the old key", []string{keyID(fresh), keyID(old)}, "BERTH_MASTER_KEY="+fresh)

			api.Stop()
			api = w.start("api", both)
			w.ready(api)
			w.make() // the worker has the old key only
			w.notRotated("the worker does not have the new key", []string{keyID(fresh), fmt.Sprint(":", worker.Pid(), ":")}, both)
			worker.Stop()
			worker = w.start("worker", both)
			logs(t, worker, "worker ready")
			w.make()

			cut := w.keys("rotate", both)
			logs(t, cut, "waiting for running processes")
			cut.Kill()
			w.make()
			if said := w.rotated(both); !strings.Contains(said, "Nothing needs another key: remove "+keyID(old)) {
				t.Errorf("the rotation said %q", said)
			}
			w.make()
			if said := w.rotated(both); !strings.Contains(said, "Re-encrypted 0 values") {
				t.Errorf("a second rotation said %q", said)
			}
			status := w.keys("status", both)
			status.Finish(startLimit)
			if said := status.Log(); !containsAll(said, []string{keyID(old), "not needed", keyID(fresh), "in use", "5 credentials", fmt.Sprint(":", worker.Pid(), ":")}) {
				t.Errorf("the status is %q", said)
			}
			api.Stop()
			worker.Stop()
			w.mustRefuse("the old key alone", "worker", []string{keyID(old), keyID(fresh)}, "BERTH_MASTER_KEY="+old)
			api, worker = w.start("api", "BERTH_MASTER_KEY="+fresh), w.start("worker", "BERTH_MASTER_KEY="+fresh)
			w.ready(api)
			w.make()
			w.readable()
			worker.Stop()
			api.Stop()
		})
	}
}

// readable reads the credentials of every instance.
func (w *world) readable() {
	w.Helper()
	c := w.client()
	page, err := c.Instances(w.Context(), client.InstanceFilter{})
	if err != nil || len(page.Items) == 0 {
		w.Fatalf("%+v, %v", page, err)
	}
	for _, i := range page.Items {
		if config, err := c.Connection(w.Context(), i); err != nil || config.Password == "" {
			w.Errorf("%s: %v", i.ID, err)
		}
	}
}
