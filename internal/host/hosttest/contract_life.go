package hosttest

import (
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

func wholeLife(t *testing.T, s Subject) {
	b := newBench(t, s)
	b.ok(s.Runtime.Ping(b.ctx), "Ping")
	first, err := s.Runtime.Identity(b.ctx)
	b.ok(err, "Identity")
	if again, err := s.Other.Identity(b.ctx); err != nil || first == "" || again != first {
		t.Fatalf("one engine calls itself %q and %q, %v", first, again, err)
	}
	if f, err := s.Runtime.Facts(b.ctx); err != nil || f.ID != first || f.CPUs < 1 || f.MemoryBytes < 1 || f.Version == "" || f.Arch == "" {
		t.Fatalf("the engine says %+v of itself, %v", f, err)
	}
	w := b.workload()
	id := w.Unit

	b.ok(s.Runtime.CreateVolume(b.ctx, w), "CreateVolume")
	if u, ok := b.listed(s.Runtime, id); !ok || !u.Volume || u.Running || u.Fence != w.Fence {
		t.Fatalf("with only its volume it is listed as %+v, %v", u, ok)
	}
	_, err = s.Runtime.Inspect(b.ctx, id)
	b.code(err, fault.CodeNotFound, "Inspect of a mere volume")

	b.ok(s.Runtime.Create(b.ctx, w), "Create")
	if u := b.inspect(id); u.Running || !u.Volume || u.Fence != w.Fence {
		t.Fatalf("created, it is %+v", u)
	} else if u.CPUMillis != w.Resources.CPUMillis || u.MemoryBytes != w.Resources.MemoryBytes {
		t.Fatalf("asked for %+v, it may use %d millicores and %d bytes", w.Resources, u.CPUMillis, u.MemoryBytes)
	}
	ports, err := s.Runtime.Start(b.ctx, w)
	b.ok(err, "Start")
	want := w.Ports[0]
	if len(ports) != len(w.Ports) || ports[want.Name] != want.Host {
		t.Fatalf("it listens on %v, want %v", ports, w.Ports)
	}
	b.ok(s.Runtime.Settle(b.ctx, id, w.Fence), "Settle")
	u := b.inspect(id)
	if !u.Running || u.Ports[want.Name] != want.Host || !u.Volume || u.ID != id {
		t.Fatalf("started, it is %+v", u)
	}
	if l, ok := b.listed(s.Runtime, id); !ok || !l.Running || l.Ports[want.Name] != want.Host || !l.Volume || l.Fence != w.Fence {
		t.Fatalf("started, it is listed as %+v, %v", l, ok)
	}

	space, err := s.Runtime.Space(b.ctx, id)
	b.ok(err, "Space")
	if space.FreeBytes < 0 || space.FreeBytes > space.SizeBytes {
		t.Fatalf("its data is on a file system of %+v", space)
	}
	b.code(s.Runtime.Forget(b.ctx), fault.CodeHostInUse, "Forget, with a unit there")

	b.ok(s.Runtime.Stop(b.ctx, id, w.Fence, shortGrace), "Stop")
	if u := b.inspect(id); u.Running {
		t.Fatalf("stopped, it is %+v", u)
	}
	_, err = s.Runtime.Space(b.ctx, id)
	b.code(err, fault.CodeNotFound, "Space of one that does not run")
	b.ok(s.Runtime.Remove(b.ctx, id, w.Fence, true), "Remove")
	b.gone(id)
}

func twice(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.workload()
	id := w.Unit
	both := func(what string, call func() error) {
		t.Helper()
		b.ok(call(), what)
		b.ok(call(), what+" again")
	}
	both("CreateVolume", func() error { return s.Runtime.CreateVolume(b.ctx, w) })
	both("Create", func() error { return s.Runtime.Create(b.ctx, w) })
	both("Start", func() error {
		ports, err := s.Runtime.Start(b.ctx, w)
		if err == nil && ports[w.Ports[0].Name] != w.Ports[0].Host {
			t.Errorf("Start: it listens on %v", ports)
		}
		return err
	})
	both("Settle", func() error { return s.Runtime.Settle(b.ctx, id, w.Fence) })
	both("Stop", func() error { return s.Runtime.Stop(b.ctx, id, w.Fence, shortGrace) })
	both("Remove without data", func() error { return s.Runtime.Remove(b.ctx, id, w.Fence, false) })
	both("Remove", func() error { return s.Runtime.Remove(b.ctx, id, w.Fence, true) })
	both("Stop of a gone one", func() error { return s.Runtime.Stop(b.ctx, id, w.Fence, shortGrace) })
	b.gone(id)
}

// dataStays removes the container only, and makes it anew on the same volume.
func dataStays(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.workload()
	b.run(w)
	first := w.Files[0]
	s.File(t, w.Unit, first.Path) // which waits until it is there
	b.ok(s.Runtime.Remove(b.ctx, w.Unit, w.Fence, false), "Remove without data")
	_, err := s.Runtime.Inspect(b.ctx, w.Unit)
	b.code(err, fault.CodeNotFound, "Inspect")
	if u, ok := b.listed(s.Runtime, w.Unit); !ok || !u.Volume {
		t.Fatalf("the volume is not listed: %+v, %v", u, ok)
	}
	w.Files = nil
	b.run(w)
	if f, _ := s.File(t, w.Unit, first.Path); f.Content.Reveal() != first.Content.Reveal() {
		t.Fatalf("the file of the first container is not in the volume any more")
	}
}

func filesInPlace(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.workload()
	deep := host.File{Path: w.DataPath + "/some/folder/secret.txt", Mode: 0o440, Content: secret.New("s3cret\n")}
	w.Files = append(w.Files, deep)
	check := func(want host.File) {
		t.Helper()
		f, owner := s.File(t, w.Unit, want.Path)
		if f.Content.Reveal() != want.Content.Reveal() || f.Mode != want.Mode || owner != w.User {
			t.Errorf("%s: mode %o of %s, %d bytes; want mode %o of %s, %d bytes", want.Path,
				f.Mode, owner, len(f.Content.Reveal()), want.Mode, w.User, len(want.Content.Reveal()))
		}
	}
	// The second time over what an earlier container has left.
	b.run(w)
	for _, f := range w.Files {
		check(f)
	}
	w.Fence++
	w.Files[len(w.Files)-1].Content = secret.New("another\n")
	b.run(w)
	for _, f := range w.Files {
		check(f)
	}
}

func filesReplaced(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.workload()
	other := host.File{Path: w.DataPath + "/other", Mode: 0o440, Content: secret.New("one\n")} // the server reads its own when it likes
	w.Files = append(w.Files, other)
	b.code(s.Runtime.Adopt(b.ctx, w), fault.CodeNotFound, "Adopt of nothing")
	b.ok(s.Runtime.Create(b.ctx, w), "Create")
	b.code(s.Runtime.Adopt(b.ctx, w), fault.CodeNotFound, "Adopt of one that does not run")
	b.run(w)
	if f, _ := s.File(t, w.Unit, other.Path); f.Content.Reveal() != "one\n" {
		t.Fatal("its files are not in place")
	}
	next := w
	next.Fence++
	next.PidsLimit = w.PidsLimit + 50
	next.Files = append(slices.Clone(w.Files[:len(w.Files)-1]), host.File{Path: other.Path, Mode: 0o400, Content: secret.New("another\n")})
	for range 2 { // done twice is done
		b.ok(s.Runtime.Adopt(b.ctx, next), "Adopt")
	}
	f, owner := s.File(t, w.Unit, other.Path)
	if f.Content.Reveal() != "another\n" || f.Mode != 0o400 || owner != w.User {
		t.Errorf("%s has %d bytes, mode %o, owner %s", f.Path, len(f.Content.Reveal()), f.Mode, owner)
	}
	if u := b.inspect(w.Unit); !u.Running {
		t.Errorf("it ended: %+v", u)
	}
	// Started again by hand or by a claim, it goes on with these.
	b.ok(s.Runtime.Stop(b.ctx, w.Unit, next.Fence, shortGrace), "Stop")
	_, err := s.Runtime.Start(b.ctx, under(w, next.Fence))
	b.ok(err, "Start after Stop")
	if f, _ := s.File(t, w.Unit, other.Path); f.Content.Reveal() != "another\n" {
		t.Errorf("started again, it has other files")
	}
	b.ok(s.Runtime.Create(b.ctx, next), "Create under the newer claim")
	b.code(s.Runtime.Adopt(b.ctx, w), fault.CodeFenced, "Adopt by an older claim")
}

func endsAtOnce(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := s.EndAtOnce(b.workload(), "cannot do this", 3)
	b.run(w)
	u := b.ended(w.Unit)
	if u.ExitCode != 3 || u.OOMKilled || !u.Volume {
		t.Errorf("ended, it is %+v; want exit code 3", u)
	}
	if l, ok := b.listed(s.Runtime, w.Unit); !ok || l.Running || l.ExitCode != 3 {
		t.Errorf("ended, it is listed as %+v, %v; want exit code 3", l, ok)
	}
	text, err := s.Runtime.Output(b.ctx, w.Unit, 10)
	b.ok(err, "Output")
	if strings.TrimSpace(text) != "cannot do this" {
		t.Errorf("its output is %q", text)
	}
}

func lastLines(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := s.EndAtOnce(b.workload(), "one\ntwo\nthree\nfour", 0)
	b.run(w)
	b.ended(w.Unit)
	text, err := s.Runtime.Output(b.ctx, w.Unit, 2)
	b.ok(err, "Output")
	if text != "three\nfour\n" {
		t.Errorf("the last two lines are %q", text)
	}
}
