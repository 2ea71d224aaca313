package hosttest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// endIsNews has an instance ended and then removed, and waits for the news of each.
func endIsNews(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.workload()
	b.run(w)
	ctx, cancel := context.WithCancel(b.ctx)
	news, others := make(chan host.UnitID, 1000), make(chan host.UnitID, 1000)
	watch := func(r host.Runtime, to chan host.UnitID) chan error {
		done := make(chan error, 1)
		go func() { done <- r.Watch(ctx, func(id host.UnitID) { to <- id }) }()
		return done
	}
	done, otherDone := watch(s.Runtime, news), watch(s.Other, others)
	await := func(what string, act func()) {
		t.Helper()
		// The stream may open only after the first act: act until it is heard.
		for again := time.NewTicker(time.Second); ; {
			act()
			select {
			case id := <-news:
				if id == w.Unit {
					again.Stop()
					return
				}
			case <-again.C:
			case <-ctx.Done():
				t.Fatalf("nobody has told of %s", what)
			}
		}
	}
	await("an end", func() {
		_, err := s.Runtime.Start(b.ctx, w)
		b.ok(err, "Start")
		b.ok(s.Runtime.Stop(b.ctx, w.Unit, w.Fence, shortGrace), "Stop")
	})
	await("a removal", func() { b.ok(s.Runtime.Remove(b.ctx, w.Unit, w.Fence, false), "Remove") })
	cancel()
	for _, err := range []error{<-done, <-otherDone} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: got %v, want the context's error", err)
		}
	}
	for len(others) > 0 {
		if id := <-others; id == w.Unit {
			t.Error("another deployment was told")
		}
	}
}

func dataMustBeThere(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.workload()
	w.KeepData = true
	b.code(s.Runtime.CreateVolume(b.ctx, w), fault.CodeDataLost, "CreateVolume of lost data")
	b.code(s.Runtime.Create(b.ctx, w), fault.CodeDataLost, "Create on lost data")
	if u, ok := b.listed(s.Runtime, w.Unit); ok {
		t.Fatalf("something was made: %+v", u)
	}
	w.KeepData = false
	b.ok(s.Runtime.CreateVolume(b.ctx, w), "CreateVolume")
	w.KeepData = true
	b.run(w)
	if u := b.inspect(w.Unit); !u.Running || !u.Volume {
		t.Fatalf("on its data it is %+v", u)
	}
}

func createdWhen(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.workload()
	begun := time.Now().Add(-2 * time.Second) // a list may round down
	check := func(container bool) {
		t.Helper()
		u, ok := b.listed(s.Runtime, w.Unit)
		if !ok || u.Container != container || u.Tenant != w.Tenant || u.Created.Before(begun) || u.Created.After(time.Now().Add(time.Second)) {
			t.Errorf("it is listed as %+v, %v", u, ok)
		}
	}
	b.ok(s.Runtime.CreateVolume(b.ctx, w), "CreateVolume")
	check(false)
	b.run(w)
	check(true)
}
