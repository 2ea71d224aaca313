package hosttest

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// Subject is a Runtime under contract, with what the suite needs around it.
type Subject struct {
	// Runtime is the one that is tested; Other is of another deployment on the same
	// host; Unreachable is of a host that does not answer.
	Runtime, Other, Unreachable host.Runtime
	// Images are references of which one is there or can be had; Missing can not.
	Images  []string
	Missing string
	// Golden gives golden data of one of the Images that nobody has made yet; FailGolden
	// changes it to write the words and end with the exit code instead. RemoveGolden
	// removes what was made of it. nil: there is no golden data.
	Golden       func(*testing.T) host.Golden
	FailGolden   func(g host.Golden, words string, exitCode int) host.Golden
	RemoveGolden func(t *testing.T, reference string)
	// Workload gives what a fresh instance runs, under fence 1: a server that runs until
	// it is stopped, with one port that is free and at least one file.
	Workload func(*testing.T) host.Workload
	// Port gives a free host port.
	Port func(*testing.T) int
	// EndAtOnce changes the workload to write the words and end with the exit code; nil:
	// nothing ends by itself.
	EndAtOnce func(w host.Workload, words string, exitCode int) host.Workload
	// AddForeign puts a container and a volume of somebody else under the instance's
	// names; ForeignThere reports whether both are still as they were.
	AddForeign   func(*testing.T, host.UnitID)
	ForeignThere func(*testing.T, host.UnitID) bool
	// File reads a file of the instance that was started, and who owns it ("uid:gid"); nil:
	// no files are kept. It waits until the files are in place.
	File func(t *testing.T, id host.UnitID, path string) (f host.File, owner string)
}

const (
	contractLimit = 2 * time.Minute
	shortGrace    = 2 * time.Second
)

// promise is one of those that host.Runtime makes.
type promise struct {
	name string
	run  func(*testing.T, Subject)
	// keeps reports whether a subject has anything that the promise is about; nil: it has.
	keeps func(Subject) bool
}

func (s Subject) hasFiles() bool  { return s.File != nil }
func (s Subject) hasEnds() bool   { return s.EndAtOnce != nil }
func (s Subject) hasGolden() bool { return s.Golden != nil }

func promises() []promise {
	return []promise{
		{"a whole life", wholeLife, nil},
		{"every call may come twice", twice, nil},
		{"the same claim goes on", sameClaim, nil},
		{"an incomplete create is made anew", createdAnew, Subject.hasFiles},
		{"an older claim's is replaced", olderReplaced, nil},
		{"a newer claim's is left alone", newerFenced, nil},
		{"a newer claim's volume is left alone", newerVolume, nil},
		{"things of others are untouched", foreignUntouched, nil},
		{"a refused port", portRefused, nil},
		{"data outlives its container", dataStays, Subject.hasFiles},
		{"files are in place", filesInPlace, Subject.hasFiles},
		{"files of what runs are replaced", filesReplaced, Subject.hasFiles},
		{"one that ends at once is explained", endsAtOnce, Subject.hasEnds},
		{"output is the last lines", lastLines, Subject.hasEnds},
		{"nothing is not found", nothing, nil},
		{"list is of one deployment", listOwn, nil},
		{"an end is news", endIsNews, nil},
		{"kept data must be there", dataMustBeThere, nil},
		{"what is there has an age", createdWhen, nil},
		{"the image", imagePresent, nil},
		{"no image", imageMissing, nil},
		{"golden data is made once", goldenOnce, Subject.hasGolden},
		{"golden data of something else is another", goldenOther, Subject.hasGolden},
		{"golden data that is gone is made anew", goldenAnew, Subject.hasGolden},
		{"golden data that cannot be made", goldenFails, Subject.hasGolden},
		{"a host that does not answer", unreachable, nil},
		{"a context that has ended", contextEnded, nil},
	}
}

// RuntimeContract tests that a Runtime keeps the promises of host.Runtime.
func RuntimeContract(t *testing.T, s Subject) {
	for _, test := range promises() {
		if test.keeps != nil && !test.keeps(s) {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, s)
		})
	}
}

// bench is one test's view of the subject.
type bench struct {
	*testing.T
	Subject
	ctx context.Context
}

func newBench(t *testing.T, s Subject) bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), contractLimit)
	t.Cleanup(cancel)
	return bench{T: t, Subject: s, ctx: ctx}
}

// workload gives a fresh instance's workload with its image present, and removes
// whatever is left of it in the end.
func (b bench) workload() host.Workload {
	b.Helper()
	w := b.Workload(b.T)
	image, err := b.Runtime.EnsureImage(b.ctx, b.Images, nil)
	b.ok(err, "EnsureImage")
	w.Image = image
	b.Cleanup(func() {
		//nolint:usetesting // the test's own context has ended by now
		ctx, cancel := context.WithTimeout(context.Background(), contractLimit)
		defer cancel()
		if err := b.Runtime.Remove(ctx, w.Unit, 1<<40, true); err != nil {
			b.Errorf("clean up: %v", err)
		}
	})
	return w
}

// under gives the workload under another claim.
func under(w host.Workload, fence int64) host.Workload {
	w.Fence = fence
	return w
}

// run creates and starts the workload.
func (b bench) run(w host.Workload) map[string]int {
	b.Helper()
	b.ok(b.Runtime.CreateVolume(b.ctx, w), "CreateVolume")
	b.ok(b.Runtime.Create(b.ctx, w), "Create")
	ports, err := b.Runtime.Start(b.ctx, w)
	b.ok(err, "Start")
	return ports
}

func (b bench) inspect(id host.UnitID) host.Unit {
	b.Helper()
	u, err := b.Runtime.Inspect(b.ctx, id)
	b.ok(err, "Inspect")
	return u
}

func (b bench) ok(err error, what string) {
	b.Helper()
	if err != nil {
		b.Fatalf("%s: %v", what, err)
	}
}

func (b bench) code(err error, want fault.Code, what string) {
	b.Helper()
	if err == nil || fault.CodeOf(err) != want {
		b.Fatalf("%s: got %v (code %s), want code %s", what, err, fault.CodeOf(err), want)
	}
}

// gone asserts that neither container nor volume is left.
func (b bench) gone(id host.UnitID) {
	b.Helper()
	_, err := b.Runtime.Inspect(b.ctx, id)
	b.code(err, fault.CodeNotFound, "Inspect of one that is gone")
	if u, ok := b.listed(b.Runtime, id); ok {
		b.Fatalf("it is gone but listed: %+v", u)
	}
}

func (b bench) listed(r host.Runtime, id host.UnitID) (host.Unit, bool) {
	b.Helper()
	units, err := r.List(b.ctx)
	b.ok(err, "List")
	for _, u := range units {
		if u.ID == id {
			return u, true
		}
	}
	return host.Unit{}, false
}

// ended waits until the instance does not run any more.
func (b bench) ended(id host.UnitID) host.Unit {
	b.Helper()
	for {
		u := b.inspect(id)
		if !u.Running {
			return u
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-b.ctx.Done():
			b.Fatalf("instance %s did not end: %+v", id, u)
		}
	}
}

func unreachable(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.Workload(t)
	for name, err := range EveryCall(b.ctx, t, s.Unreachable, w) {
		b.code(err, fault.CodeHostUnavailable, string(name))
	}
}

func contextEnded(t *testing.T, s Subject) {
	b := newBench(t, s)
	w := b.Workload(t)
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	for name, err := range EveryCall(ctx, t, s.Runtime, w) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want the context's error", name, err)
		}
	}
}

// EveryCall calls every method once, with the workload or its instance, and gives what each
// has answered. It fails where host.Runtime has a method that is not called here.
func EveryCall(ctx context.Context, t *testing.T, r host.Runtime, w host.Workload) map[Method]error {
	t.Helper()
	id, fence := w.Unit, w.Fence
	answers := map[Method]error{
		MethodPing:         r.Ping(ctx),
		MethodCreateVolume: r.CreateVolume(ctx, w),
		MethodCreate:       r.Create(ctx, w),
		MethodAdopt:        r.Adopt(ctx, w),
		MethodSettle:       r.Settle(ctx, id, fence),
		MethodStop:         r.Stop(ctx, id, fence, shortGrace),
		MethodRemove:       r.Remove(ctx, id, fence, true),
		MethodForget:       r.Forget(ctx),
	}
	_, answers[MethodIdentity] = r.Identity(ctx)
	_, answers[MethodFacts] = r.Facts(ctx)
	_, answers[MethodEnsureImage] = r.EnsureImage(ctx, []string{"example.invalid/none:1"}, nil)
	_, answers[MethodEnsureGolden] = r.EnsureGolden(ctx, host.Golden{Image: "example.invalid/none:1", Command: []string{"true"}, User: "1:1", Path: "/x"}, nil)
	_, answers[MethodStart] = r.Start(ctx, w)
	_, answers[MethodInspect] = r.Inspect(ctx, id)
	_, answers[MethodSpace] = r.Space(ctx, id)
	_, answers[MethodList] = r.List(ctx)
	answers[MethodWatch] = r.Watch(ctx, func(host.UnitID) {})
	_, answers[MethodOutput] = r.Output(ctx, id, 10)
	for m := range reflect.TypeFor[host.Runtime]().Methods() {
		if _, called := answers[Method(m.Name)]; !called {
			t.Fatalf("%s is a method of host.Runtime that EveryCall does not call", m.Name)
		}
	}
	return answers
}
