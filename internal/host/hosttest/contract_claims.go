package hosttest

import (
	"sync"
	"testing"

	"github.com/berth-project/berth/internal/fault"
)

// sameClaim calls Create again while the server runs: it goes on running.
func sameClaim(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.workload()
	b.run(w)
	b.ok(s.Runtime.Create(b.ctx, w), "Create again")
	if u := b.inspect(w.Unit); !u.Running {
		t.Fatalf("it does not run any more: %+v", u)
	}
	// Asked for with another port it is another one, even if it runs.
	w.Ports[0].Host = s.Port(t)
	b.ok(s.Runtime.Create(b.ctx, w), "Create with another port")
	if u := b.inspect(w.Unit); u.Running {
		t.Fatalf("it still runs with the old port: %+v", u)
	}
	if ports := b.run(w); ports[w.Ports[0].Name] != w.Ports[0].Host {
		t.Fatalf("it listens on %v, want %v", ports, w.Ports)
	}
}

// createdAnew creates over a container of which nobody knows whether it is complete.
func createdAnew(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.workload()
	bare := w
	bare.Files = nil
	b.ok(s.Runtime.Create(b.ctx, bare), "Create without files")
	b.run(w)
	if f, _ := s.File(t, w.Unit, w.Files[0].Path); f.Content.Reveal() != w.Files[0].Content.Reveal() {
		t.Fatalf("the file is not in place")
	}
}

func olderReplaced(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.workload()
	b.run(w)
	w.Fence = 2
	w.Ports[0].Host = s.Port(t)
	if ports := b.run(w); ports[w.Ports[0].Name] != w.Ports[0].Host {
		t.Fatalf("it listens on %v, want %v", ports, w.Ports)
	}
	if u := b.inspect(w.Unit); u.Fence != 2 || !u.Running {
		t.Fatalf("it is %+v, want the one of fence 2, running", u)
	}
	// The newest claim may use and remove what an older one has made.
	_, err := s.Runtime.Start(b.ctx, under(w, 3))
	b.ok(err, "Start under a newer claim")
	b.ok(s.Runtime.Settle(b.ctx, w.Unit, 3), "Settle under a newer claim")
	b.ok(s.Runtime.Stop(b.ctx, w.Unit, 3, shortGrace), "Stop under a newer claim")
	b.ok(s.Runtime.Remove(b.ctx, w.Unit, 3, true), "Remove under a newer claim")
	b.gone(w.Unit)
}

func newerFenced(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.workload()
	stale := w
	w.Fence = 2
	b.run(w)
	b.code(s.Runtime.CreateVolume(b.ctx, stale), fault.CodeFenced, "CreateVolume")
	b.code(s.Runtime.Create(b.ctx, stale), fault.CodeFenced, "Create")
	_, err := s.Runtime.Start(b.ctx, stale)
	b.code(err, fault.CodeFenced, "Start")
	b.code(s.Runtime.Settle(b.ctx, w.Unit, 1), fault.CodeFenced, "Settle")
	b.code(s.Runtime.Stop(b.ctx, w.Unit, 1, shortGrace), fault.CodeFenced, "Stop")
	b.code(s.Runtime.Remove(b.ctx, w.Unit, 1, true), fault.CodeFenced, "Remove")
	if u := b.inspect(w.Unit); !u.Running || !u.Volume || u.Fence != 2 {
		t.Fatalf("it was not left alone: %+v", u)
	}
}

// newerVolume has the newer claim's container not there yet, or not any more.
func newerVolume(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.workload()
	w.Fence = 2
	b.ok(s.Runtime.CreateVolume(b.ctx, w), "CreateVolume")
	b.code(s.Runtime.Remove(b.ctx, w.Unit, 1, true), fault.CodeFenced, "Remove")
	if u, ok := b.listed(s.Runtime, w.Unit); !ok || !u.Volume {
		t.Fatalf("the volume was not left alone")
	}
}

func foreignUntouched(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.workload()
	id := w.Unit
	s.AddForeign(t, id)
	b.code(s.Runtime.CreateVolume(b.ctx, w), fault.CodeInternal, "CreateVolume")
	b.code(s.Runtime.Create(b.ctx, w), fault.CodeInternal, "Create")
	_, err := s.Runtime.Start(b.ctx, w)
	b.code(err, fault.CodeNotFound, "Start")
	b.code(s.Runtime.Settle(b.ctx, id, w.Fence), fault.CodeNotFound, "Settle")
	b.ok(s.Runtime.Stop(b.ctx, id, w.Fence, shortGrace), "Stop")
	b.ok(s.Runtime.Remove(b.ctx, id, w.Fence, true), "Remove")
	b.gone(id)
	_, err = s.Runtime.Output(b.ctx, id, 10)
	b.code(err, fault.CodeNotFound, "Output")
	if !s.ForeignThere(t, id) {
		t.Fatalf("the things of somebody else were touched")
	}
}

// portRefused wants a port that another instance has.
func portRefused(t *testing.T, s Subject) {
	b := newBench(t, s)
	holder, w := b.workload(), b.workload()
	b.run(holder)
	w.Ports[0].Host = holder.Ports[0].Host
	b.ok(s.Runtime.Create(b.ctx, w), "Create")
	_, err := s.Runtime.Start(b.ctx, w)
	b.code(err, fault.CodePortRefused, "Start")

	w.Ports[0].Host = s.Port(t)
	if ports := b.run(w); ports[w.Ports[0].Name] != w.Ports[0].Host {
		t.Fatalf("it listens on %v, want %v", ports, w.Ports)
	}
	if u := b.inspect(holder.Unit); !u.Running {
		t.Fatalf("the holder of the port has ended: %+v", u)
	}
}

func nothing(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.Workload(t)
	id := w.Unit
	_, err := s.Runtime.Inspect(b.ctx, id)
	b.code(err, fault.CodeNotFound, "Inspect")
	_, err = s.Runtime.Start(b.ctx, w)
	b.code(err, fault.CodeNotFound, "Start")
	b.code(s.Runtime.Settle(b.ctx, id, 1), fault.CodeNotFound, "Settle")
	_, err = s.Runtime.Output(b.ctx, id, 10)
	b.code(err, fault.CodeNotFound, "Output")
	b.ok(s.Runtime.Stop(b.ctx, id, 1, shortGrace), "Stop")
	b.ok(s.Runtime.Remove(b.ctx, id, 1, true), "Remove")
}

func listOwn(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.workload()
	b.run(w)
	if u, ok := b.listed(s.Other, w.Unit); ok {
		t.Fatalf("another deployment lists it: %+v", u)
	}
	_, err := s.Other.Inspect(b.ctx, w.Unit)
	b.code(err, fault.CodeNotFound, "Inspect by another deployment")
	b.code(s.Other.Create(b.ctx, w), fault.CodeInternal, "Create by another deployment")
	b.ok(s.Other.Remove(b.ctx, w.Unit, 1<<40, true), "Remove by another deployment")
	if u := b.inspect(w.Unit); !u.Running || !u.Volume {
		t.Fatalf("another deployment has touched it: %+v", u)
	}
}

// imagePresent has many ask at once.
func imagePresent(t *testing.T, s Subject) {
	b := newBench(t, s)
	const askers = 10
	var got [askers]string
	var errs [askers]error
	var all sync.WaitGroup
	for i := range askers {
		all.Go(func() { got[i], errs[i] = s.Runtime.EnsureImage(b.ctx, s.Images, func(string) {}) })
	}
	all.Wait()
	for i := range askers {
		b.ok(errs[i], "EnsureImage")
		if got[i] != got[0] {
			t.Errorf("one was given %s, another %s", got[0], got[i])
		}
	}
}

func imageMissing(t *testing.T, s Subject) {
	if s.Missing == "" {
		t.Log("every image can be had here")
		return
	}
	b := newBench(t, s)
	_, err := s.Runtime.EnsureImage(b.ctx, []string{s.Missing}, nil)
	b.code(err, fault.CodeImageUnavailable, "EnsureImage")
	w := b.Workload(t)
	w.Image = s.Missing
	b.code(s.Runtime.Create(b.ctx, w), fault.CodeImageUnavailable, "Create without the image")
	b.ok(s.Runtime.Remove(b.ctx, w.Unit, w.Fence, true), "Remove")
}
