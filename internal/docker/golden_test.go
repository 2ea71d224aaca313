package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

// goldenData gives one that nobody has made yet.
func (r *realEngine) goldenData(t *testing.T) host.Golden {
	t.Helper()
	g := host.Golden{
		Name: "test", Image: redisImages[1], User: "4711:4712", Path: "/golden",
		Command:   []string{"/bin/sh", "/golden/make.sh"},
		Files:     []host.File{{Path: "/golden/make.sh", Mode: 0o400, Content: secret.New("echo made > /golden/data # " + rand.Text() + "\n")}},
		Scratch:   map[string]int64{"/tmp": 1 << 20},
		Resources: host.Resources{CPUMillis: 500, MemoryBytes: 64 << 20}, PidsLimit: 32,
	}
	t.Cleanup(func() {
		if s, err := goldenOf(g, r.imageID(t, g.Image)); err == nil {
			_ = r.api.ContainerRemove(context.Background(), s.Make.Name, container.RemoveOptions{Force: true})
		}
	})
	return g
}

func (r *realEngine) imageID(t *testing.T, reference string) string {
	t.Helper()
	i, err := r.api.ImageInspect(context.Background(), reference)
	if err != nil {
		t.Fatal(err)
	}
	return i.ID
}

// removeGolden removes it by force, also from below a container. The mark that it is in
// use, which is set behind the answer to whoever asked for it, may bring its name back.
func (r *realEngine) removeGolden(t *testing.T, reference string) {
	t.Helper()
	const looks = 3
	for gone, tries := 0, 0; gone < looks; tries++ {
		if tries == 100 {
			t.Errorf("image %s is left", reference)
			return
		}
		gone++
		for _, name := range []string{reference, reference + askedSuffix} {
			if _, err := r.api.ImageInspect(context.Background(), name); err == nil {
				gone = 0
				_, _ = r.api.ImageRemove(context.Background(), name, image.RemoveOptions{Force: true})
			}
		}
		<-time.After(20 * time.Millisecond)
	}
}

// spec gives it in Docker's terms.
func (r *realEngine) goldenSpec(t *testing.T, g host.Golden) goldenSpec {
	t.Helper()
	s, err := goldenOf(g, r.imageID(t, g.Image))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (r *realEngine) ensured(t *testing.T, on *Runtime, g host.Golden) string {
	t.Helper()
	ref, err := on.EnsureGolden(t.Context(), g, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.removeGolden(t, ref) })
	return ref
}

// content gives what an instance on the image sees of it.
func (r *realEngine) content(t *testing.T, reference string) string {
	t.Helper()
	w := r.workload(t)
	w.Image, w.User = reference, "4711:4712"
	w.Command = []string{"/bin/sh", "-c", "cat /golden/data; touch /golden/x 2>/dev/null && echo writable"}
	runtime := r.runtime(t)
	start(t, runtime, w)
	t.Cleanup(func() { _ = runtime.Remove(context.Background(), w.Unit, w.Fence, true) })
	return waitForEnd(t, runtime, w.Unit)
}

func (r *realEngine) containerThere(t *testing.T, name string) bool {
	t.Helper()
	_, err := r.api.ContainerInspect(t.Context(), name)
	return err == nil
}

// TestGoldenOnceForTheHost has two processes' worth of runtimes ask at once.
func TestGoldenOnceForTheHost(t *testing.T) {
	local := newRealEngine(t)
	g := local.goldenData(t)
	s := local.goldenSpec(t, g)
	began := time.Now()
	answers := make(chan error, 8)
	for range 4 {
		hosts := New(Config{Deployment: local.deployment})
		t.Cleanup(func() { _ = hosts.Close() })
		runtime, err := hosts.Runtime(local.host)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			go func() {
				_, err := runtime.EnsureGolden(t.Context(), g, nil)
				answers <- err
			}()
		}
	}
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	ref := local.ensured(t, local.runtime(t), g)
	if got := local.content(t, ref); got != "made\n" {
		t.Errorf("an instance sees %q", got)
	}
	if n := local.created(t, s.Make.Name, began); n > 1 { // a busy engine forgets what it told long ago
		t.Errorf("it was made %d times", n)
	}
	if local.containerThere(t, s.Make.Name) {
		t.Error("what made it is left")
	}
}

// created counts the containers of that name that were started since.
func (r *realEngine) created(t *testing.T, name string, since time.Time) (n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	messages, errs := r.api.Events(ctx, events.ListOptions{
		Since: since.Add(-time.Second).Format(time.RFC3339Nano), Until: time.Now().Format(time.RFC3339Nano),
		Filters: filters.NewArgs(filters.Arg("container", name), filters.Arg("event", "start")),
	})
	for {
		select {
		case <-messages:
			n++
		case err := <-errs:
			if !errors.Is(err, io.EOF) {
				t.Errorf("read the events: %v", err)
			}
			return n
		}
	}
}

// TestGoldenTakenOver has makers vanish at every point of the making.
func TestGoldenTakenOver(t *testing.T) {
	local := newRealEngine(t)
	runtime := local.runtime(t)
	for name, stop := range map[string]int{"created": 1, "filled": 2, "started": 3, "committed": 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := local.goldenData(t)
			s := local.goldenSpec(t, g)
			id, err := runtime.engine.createContainer(t.Context(), s.Make)
			if err == nil && stop > 1 {
				err = runtime.engine.copyFiles(t.Context(), id, "/", s.Archive)
			}
			if err == nil && stop > 2 {
				err = runtime.engine.startContainer(t.Context(), id)
			}
			for err == nil && stop > 3 {
				var c container.InspectResponse
				if c, err = runtime.engine.inspectContainer(t.Context(), id); err == nil && !c.State.Running {
					err = runtime.engine.commit(t.Context(), id, s.Image, s.Make.Config.Labels)
					break
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := local.content(t, local.ensured(t, runtime, g)); got != "made\n" {
				t.Errorf("an instance sees %q", got)
			}
		})
	}
}

// TestGoldenCutOff ends what makes it, in the middle.
func TestGoldenCutOff(t *testing.T) {
	local := newRealEngine(t)
	runtime := local.runtime(t)
	g := local.goldenData(t)
	g.Command = []string{"/bin/sh", "-c", "echo half > /golden/data; sleep 600"}
	s := local.goldenSpec(t, g)
	answer := make(chan error, 1)
	go func() {
		_, err := runtime.EnsureGolden(t.Context(), g, nil)
		answer <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		c, err := local.api.ContainerInspect(ctx, s.Make.Name)
		if err == nil && c.State.Running {
			break
		}
		if err := backoff.Wait(ctx, 10*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if err := local.api.ContainerKill(ctx, s.Make.Name, "KILL"); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; fault.CodeOf(err) != fault.CodeImageUnavailable || !strings.Contains(err.Error(), "137") {
		t.Errorf("got %v", err)
	}
	if _, err := local.api.ImageInspect(t.Context(), s.Image); err == nil {
		t.Error("what was cut off is taken for whole")
	}
	if local.containerThere(t, s.Make.Name) {
		t.Error("what made it is left")
	}
}

// TestGoldenTooSlow has it never end.
func TestGoldenTooSlow(t *testing.T) {
	local := newRealEngine(t)
	hosts := New(Config{Deployment: local.deployment, GoldenLimit: 500 * time.Millisecond})
	t.Cleanup(func() { _ = hosts.Close() })
	runtime, err := hosts.Runtime(local.host)
	if err != nil {
		t.Fatal(err)
	}
	g := local.goldenData(t)
	g.Command = []string{"sleep", "600"}
	_, err = runtime.EnsureGolden(t.Context(), g, nil)
	if fault.CodeOf(err) != fault.CodeImageUnavailable || !strings.Contains(err.Error(), "did not end within 500ms") {
		t.Errorf("got %v", err)
	}
	if local.containerThere(t, local.goldenSpec(t, g).Make.Name) {
		t.Error("what should have made it is left")
	}
}

// TestGoldenOnABusyMachine has it take longer than it may stand still: it is waited for
// while it does something, but not for ever.
func TestGoldenOnABusyMachine(t *testing.T) {
	t.Parallel()
	local := newRealEngine(t)
	busy := func(t *testing.T, total time.Duration, script string) (string, error) {
		t.Helper()
		hosts := New(Config{Deployment: local.deployment, GoldenLimit: 2 * time.Second, GoldenTotal: total})
		t.Cleanup(func() { _ = hosts.Close() })
		runtime, err := hosts.Runtime(local.host)
		if err != nil {
			t.Fatal(err)
		}
		g := local.goldenData(t)
		g.Command = []string{"/bin/sh", "-c", script}
		return runtime.EnsureGolden(t.Context(), g, nil)
	}
	t.Run("it gets on", func(t *testing.T) {
		ref, err := busy(t, 2*time.Minute, "end=$(($(date +%s) + 6)); while [ $(date +%s) -lt $end ]; do :; done; echo made >/golden/data")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { local.removeGolden(t, ref) })
	})
	t.Run("it never ends", func(t *testing.T) {
		_, err := busy(t, 5*time.Second, "while :; do :; done")
		if fault.CodeOf(err) != fault.CodeImageUnavailable || !strings.Contains(err.Error(), "did not end within 5s") {
			t.Errorf("got %v", err)
		}
	})
}

// TestGoldenMark asks for an image again: the engine remembers that, whichever store it
// keeps images in, and the mark is gone with the image.
func TestGoldenMark(t *testing.T) {
	local := newRealEngine(t)
	runtime := local.runtime(t)
	ref := local.ensured(t, runtime, local.goldenData(t))
	last := func() time.Time {
		t.Helper()
		i, err := local.api.ImageInspect(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		full, err := local.api.ImageInspect(t.Context(), i.ID)
		if err != nil {
			t.Fatal(err)
		}
		return full.Metadata.LastTagTime
	}
	for range 2 { // first, and again
		before := last()
		if err := runtime.mark(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if now := last(); !now.After(before) {
			t.Errorf("asked for again it has %s, before it had %s", now, before)
		}
	}
	i, err := local.api.ImageInspect(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	runtime.engine.golden.idle = time.Nanosecond
	summary := image.Summary{ID: i.ID, RepoTags: i.RepoTags, Labels: i.Config.Labels, Created: last().Unix()}
	if err := runtime.removeIfIdle(t.Context(), summary, "another"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{ref, ref + askedSuffix} {
		if _, err := local.api.ImageInspect(t.Context(), name); err == nil {
			t.Errorf("%s is left", name)
		}
	}
}

// TestGoldenTidied has images that nobody asks for, one of them in use.
func TestGoldenTidied(t *testing.T) {
	local := newRealEngine(t)
	hosts := New(Config{Deployment: local.deployment, GoldenIdle: time.Nanosecond})
	t.Cleanup(func() { _ = hosts.Close() })
	got, err := hosts.Runtime(local.host)
	if err != nil {
		t.Fatal(err)
	}
	impatient := got.(*Runtime)
	idle := local.ensured(t, local.runtime(t), local.goldenData(t))
	used := local.ensured(t, local.runtime(t), local.goldenData(t))
	w := local.workload(t)
	w.Image = used
	start(t, local.runtime(t), w)
	t.Cleanup(func() { _ = local.runtime(t).Remove(context.Background(), w.Unit, w.Fence, true) })
	current := local.goldenSpec(t, local.goldenData(t))
	// Somebody's own image on top of a golden one has its labels.
	strange := "berth-test/strange:" + strings.ToLower(rand.Text())
	if err := local.api.ImageTag(t.Context(), idle, strange); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { local.removeGolden(t, strange) })
	tidy := func() {
		t.Helper()
		images, err := impatient.engine.listImages(t.Context(), labelGolden)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range images {
			if !slices.Contains(i.RepoTags, idle) && !slices.Contains(i.RepoTags, used) {
				continue // not this test's
			}
			if err := impatient.removeIfIdle(t.Context(), i, current.Key); err != nil {
				t.Fatal(err)
			}
		}
	}
	there := func(reference string) bool {
		_, err := local.api.ImageInspect(t.Context(), reference)
		return err == nil
	}
	tidy()
	if !there(idle) || !there(used) || !there(strange) {
		t.Errorf("one that is in use, or has a name of somebody's, was removed")
	}
	if _, err := local.api.ImageRemove(t.Context(), strange, image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	tidy()
	if there(idle) || !there(used) {
		t.Errorf("idle is there: %v; used is there: %v", there(idle), there(used))
	}
	if local.imageID(t, redisImages[1]) == "" {
		t.Error("the base is gone")
	}
}

// TestGoldenForeign has somebody's container under the maker's name, and an image under
// the result's.
func TestGoldenForeign(t *testing.T) {
	local := newRealEngine(t)
	runtime := local.runtime(t)
	g := local.goldenData(t)
	s := local.goldenSpec(t, g)
	c, err := local.api.ContainerCreate(t.Context(), &container.Config{
		Image: redisImages[1], Labels: map[string]string{"berth.test": local.deployment},
	}, nil, nil, nil, s.Make.Name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := runtime.EnsureGolden(t.Context(), g, nil); fault.CodeOf(err) != fault.CodeInternal {
		t.Errorf("got %v", err)
	}
	if !local.containerThere(t, c.ID) {
		t.Error("somebody's container is gone")
	}
	if err := local.api.ImageTag(t.Context(), redisImages[1], s.Image); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { local.removeGolden(t, s.Image) })
	if _, err := runtime.EnsureGolden(t.Context(), g, nil); fault.CodeOf(err) != fault.CodeInternal {
		t.Errorf("got %v", err)
	}
	if local.imageID(t, s.Image) != local.imageID(t, redisImages[1]) {
		t.Error("somebody's image is gone")
	}
}

// TestGoldenSpec looks at what the key depends on, and at what may be in it.
func TestGoldenSpec(t *testing.T) {
	g := host.Golden{
		Name: "x", Image: "x:1", Command: []string{"make"}, User: "1:2", Path: "/golden",
		Files: []host.File{{Path: "/golden/a", Mode: 0o400, Content: secret.New("a")}},
	}
	key := func(change func(*host.Golden), image string) string {
		other := g
		if change != nil {
			change(&other)
		}
		s, err := goldenOf(other, image)
		if err != nil {
			t.Fatal(err)
		}
		h := s.Make.HostConfig
		if h.NetworkMode != "none" || len(h.CapDrop) != 1 || len(h.SecurityOpt) != 1 || len(h.Mounts) > 0 || h.RestartPolicy.Name != "" {
			t.Errorf("it is made in %+v", h)
		}
		return s.Key
	}
	same := key(nil, "sha256:1")
	if again := key(func(g *host.Golden) { g.Name, g.Image, g.Resources.MemoryBytes = "y", "x:latest", 1 }, "sha256:1"); again != same {
		t.Error("the key depends on what the result does not")
	}
	seen := map[string]bool{same: true, key(nil, "sha256:2"): true}
	for _, change := range []func(*host.Golden){
		func(g *host.Golden) { g.Command = []string{"make", "all"} },
		func(g *host.Golden) { g.User = "2:2" },
		func(g *host.Golden) { g.Files = nil },
		func(g *host.Golden) { g.Path, g.Files = "/other", nil },
	} {
		seen[key(change, "sha256:1")] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d keys for 6 kinds of golden data", len(seen))
	}
	for _, p := range []string{"", "/", "/a/b", "golden"} {
		bad := g
		bad.Path = p
		if _, err := goldenOf(bad, "sha256:1"); !errors.Is(err, &fault.Error{Code: fault.CodeInternal}) {
			t.Errorf("path %q: %v", p, err)
		}
	}
}
