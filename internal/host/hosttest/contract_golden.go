package hosttest

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

// golden gives golden data whose base is there.
func (b bench) golden() host.Golden {
	b.Helper()
	g := b.Golden(b.T)
	image, err := b.Runtime.EnsureImage(b.ctx, b.Images, nil)
	b.ok(err, "EnsureImage")
	g.Image = image
	return g
}

// made gives its reference, and removes it in the end.
func (b bench) made(g host.Golden) string {
	b.Helper()
	ref, err := b.Runtime.EnsureGolden(b.ctx, g, nil)
	b.ok(err, "EnsureGolden")
	b.Cleanup(func() { b.RemoveGolden(b.T, ref) })
	if present, err := b.Runtime.EnsureImage(b.ctx, []string{ref}, nil); err != nil || present != ref {
		b.Fatalf("the golden image is %q, %v; want %q", present, err, ref)
	}
	return ref
}

// goldenOnce has many ask at once, of two deployments of the host: it is one image.
func goldenOnce(t *testing.T, s Subject) {
	b := newBench(t, s)
	g := b.golden()
	const askers = 4
	type answer struct {
		ref string
		err error
	}
	answers := make(chan answer, 2*askers)
	for i := range 2 * askers {
		go func() {
			var a answer
			runtime := []host.Runtime{s.Runtime, s.Other}[i%2]
			a.ref, a.err = runtime.EnsureGolden(b.ctx, g, func(string) {})
			answers <- a
		}()
	}
	want := b.made(g)
	for range 2 * askers {
		if a := <-answers; a.err != nil || a.ref != want {
			t.Errorf("got %q, %v; want %q", a.ref, a.err, want)
		}
	}
	// What runs on it is an instance like any other.
	w := b.workload()
	w.Image = want
	b.run(w)
	if u, ok := b.listed(s.Runtime, w.Unit); !ok || !u.Running {
		t.Errorf("on golden data, it is %+v, %v", u, ok)
	}
	if _, ok := b.listed(s.Other, w.Unit); ok {
		t.Error("the other deployment lists it")
	}
}

func goldenOther(t *testing.T, s Subject) {
	b := newBench(t, s)
	g := b.golden()
	one := b.made(g)
	g.Files = append(g.Files, host.File{Path: g.Path + "/option", Mode: 0o400, Content: secret.New("other\n")})
	if two := b.made(g); two == one {
		t.Error("other options gave the same golden data")
	}
}

func goldenAnew(t *testing.T, s Subject) {
	b := newBench(t, s)
	g := b.golden()
	one := b.made(g)
	b.RemoveGolden(t, one)
	if two := b.made(g); two != one {
		t.Errorf("the same options gave %q and %q", one, two)
	}
}

func goldenFails(t *testing.T, s Subject) {
	b := newBench(t, s)
	g := b.FailGolden(b.golden(), "no way to make it", 3)
	for range 2 {
		_, err := b.Runtime.EnsureGolden(b.ctx, g, nil)
		b.code(err, fault.CodeImageUnavailable, "EnsureGolden")
		for _, words := range []string{"code 3", "no way to make it"} {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("%v does not say %q", err, words)
			}
		}
	}
	g.Image = b.Missing
	_, err := b.Runtime.EnsureGolden(b.ctx, g, nil)
	b.code(err, fault.CodeImageUnavailable, "EnsureGolden of a missing image")
}
