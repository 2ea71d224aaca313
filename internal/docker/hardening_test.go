package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

func start(t *testing.T, r *Runtime, w host.Workload) {
	t.Helper()
	if err := r.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

// TestHardened looks at the container as an operator would.
func TestHardened(t *testing.T) {
	local := newRealEngine(t)
	r, w := local.runtime(t), local.workload(t)
	start(t, r, w)
	c, raw, err := local.api.ContainerInspectWithRaw(t.Context(), nameOf(w.Unit), true)
	if err != nil {
		t.Fatal(err)
	}
	h := c.HostConfig
	for what, good := range map[string]bool{
		"user":              c.Config.User == w.User,
		"memory":            h.Memory == 64<<20 && h.MemorySwap == 64<<20,
		"cpu":               h.NanoCPUs == 500_000_000,
		"pids":              h.PidsLimit != nil && *h.PidsLimit == 64,
		"read-only":         h.ReadonlyRootfs,
		"no capabilities":   slices.Equal(h.CapDrop, []string{"ALL"}) && len(h.CapAdd) == 0,
		"no new privileges": slices.Equal(h.SecurityOpt, []string{"no-new-privileges"}) && !h.Privileged,
		"log rotation":      h.LogConfig.Type == "json-file" && h.LogConfig.Config["max-size"] == "10m",
		"no restart yet":    h.RestartPolicy.IsNone(),
		"loopback":          h.PortBindings["6379/tcp"][0].HostIP == "127.0.0.1",
		"stop timeout":      c.Config.StopTimeout != nil && *c.Config.StopTimeout == 2,
		"one mount":         len(c.Mounts) == 1 && c.Mounts[0].Name == nameOf(w.Unit),
	} {
		if !good {
			t.Errorf("%s is not as it should be: %s", what, raw)
		}
	}
	if bytes.Contains(raw, []byte(testPassword)) {
		t.Error("the password is in docker inspect")
	}
	top, err := local.api.ContainerTop(t.Context(), c.ID, []string{"-eo", "pid,uid,gid,args"})
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range top.Processes {
		if process[1] != "4711" || process[2] != "4712" || strings.Contains(strings.Join(process, " "), testPassword) {
			t.Errorf("process %v", process)
		}
	}
	earlier := container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyUnlessStopped}}
	if _, err := local.api.ContainerUpdate(t.Context(), c.ID, earlier); err != nil { // as earlier versions did
		t.Fatal(err)
	}
	if err := r.Settle(t.Context(), w.Unit, w.Fence); err != nil {
		t.Fatal(err)
	}
	if c, err = local.api.ContainerInspect(t.Context(), c.ID); err != nil || !c.HostConfig.RestartPolicy.IsNone() || c.HostConfig.Memory != 64<<20 {
		t.Errorf("settled, its restart policy is %+v (%v)", c.HostConfig.RestartPolicy, err)
	}
	if v, err := local.api.VolumeInspect(t.Context(), nameOf(w.Unit)); err != nil || v.Labels[labelTenant] != string(w.Tenant) {
		t.Errorf("the volume's labels are %v (%v)", v.Labels, err)
	}
}

// TestInside asks a container what it can do.
func TestInside(t *testing.T) {
	local := newRealEngine(t)
	r, w := local.runtime(t), local.workload(t)
	w.Command = []string{"/bin/sh", "-c", `
		stat -c '%a %u:%g' /data
		touch /data/own && echo data-writable
		touch /etc/x 2>/dev/null || echo root-read-only
		touch /tmp/x && stat -c '%a' /tmp
		grep ' /tmp ' /proc/self/mounts
		grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status; env | grep -c BERTH; hostname`}
	start(t, r, w)
	text := waitForEnd(t, r, w.Unit)
	for _, want := range []string{
		"700 4711:4712", "data-writable", "root-read-only", "1777", "nosuid,nodev,noexec", "size=1024k",
		"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "\nberth-",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q: %s", want, text)
		}
	}
}

// TestRootOfDataPath has the image's own content, and its own owner, at the place
// of the volume, and a folder in between that the image does not have.
func TestRootOfDataPath(t *testing.T) {
	local := newRealEngine(t)
	r, w := local.runtime(t), local.workload(t)
	w.DataPath = "/srv/some/where"
	w.Files = []host.File{{Path: "/srv/some/where/conf/a", Mode: 0o600, Content: secret.New("a")}}
	w.Command = []string{"/bin/sh", "-c", "stat -c '%n %a %u:%g' /srv/some/where /srv/some/where/conf /srv/some/where/conf/a"}
	start(t, r, w)
	want := "/srv/some/where 700 4711:4712\n/srv/some/where/conf 700 4711:4712\n/srv/some/where/conf/a 600 4711:4712\n"
	if text := waitForEnd(t, r, w.Unit); text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	// The image's VOLUME /data has become an anonymous volume: it goes with the container.
	c, err := local.api.ContainerInspect(t.Context(), nameOf(w.Unit))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(t.Context(), w.Unit, w.Fence, true); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.Mounts {
		if _, err := local.api.VolumeInspect(t.Context(), m.Name); err == nil {
			t.Errorf("volume %s at %s is left", m.Name, m.Destination)
		}
	}
}

// TestPortOfAnotherProcess is the second way for a port to be refused; the contract
// has the first.
func TestPortOfAnotherProcess(t *testing.T) {
	local := newRealEngine(t)
	r, w := local.runtime(t), local.workload(t)
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(w.Ports[0].Host)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := r.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	_, err = r.Start(t.Context(), w)
	if fault.CodeOf(err) != fault.CodePortRefused {
		t.Fatalf("got %v", err)
	}
	if _, err := r.Inspect(t.Context(), w.Unit); !errors.Is(err, fault.ErrNotFound) {
		t.Errorf("the container without its port is left: %v", err)
	}
	w.Ports[0].Host = freePort(t)
	start(t, r, w)
}

// TestOutOfMemory has a few tries: an engine that hears of the end before it hears of its
// cause never says why.
func TestOutOfMemory(t *testing.T) {
	local := newRealEngine(t)
	r, w := local.runtime(t), local.workload(t)
	w.Resources.MemoryBytes = 16 << 20
	w.Command = []string{"/bin/sh", "-c", "exec tail /dev/zero"}
	for try := 1; ; try++ {
		start(t, r, w)
		waitForEnd(t, r, w.Unit)
		u, err := r.Inspect(t.Context(), w.Unit)
		if err != nil || u.ExitCode != 137 {
			t.Fatalf("it is %+v (%v), want 137", u, err)
		}
		if u.OOMKilled {
			return
		}
		if try == 5 {
			t.Fatalf("it is %+v, want OOMKilled", u)
		}
		w.Fence++
	}
}

func TestCannotStart(t *testing.T) {
	local := newRealEngine(t)
	r, w := local.runtime(t), local.workload(t)
	w.Command = []string{"/no/such/program"}
	if err := r.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Start(t.Context(), w); err != nil {
		if fault.CodeOf(err) != fault.CodeStartFailed {
			t.Fatalf("got %v", err)
		}
		return
	}
	waitForEnd(t, r, w.Unit)
	if u, err := r.Inspect(t.Context(), w.Unit); err != nil || u.ExitCode != 127 {
		t.Errorf("it is %+v (%v), want exit code 127", u, err)
	}
}

// TestCreateAfterCrash leaves a container behind that was created and never filled.
func TestCreateAfterCrash(t *testing.T) {
	local := newRealEngine(t)
	r, w := local.runtime(t), local.workload(t)
	s, err := specOf(w, local.deployment)
	if err != nil {
		t.Fatal(err)
	}
	half, err := r.engine.createContainer(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	// Docker has made the volume by itself: it must carry our labels.
	if err := r.CreateVolume(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	start(t, r, w)
	if _, err := local.api.ContainerInspect(t.Context(), half); err == nil {
		t.Error("the half-made container is left")
	}
	if f, _ := local.file(t, w.Unit, w.Files[0].Path); f.Content.Reveal() != w.Files[0].Content.Reveal() {
		t.Error("the file is not in place")
	}
}

// TestRemoveTogether has many remove the same instance at once.
func TestRemoveTogether(t *testing.T) {
	local := newRealEngine(t)
	r, w := local.runtime(t), local.workload(t)
	start(t, r, w)
	const removers = 6
	answers := make(chan error, removers)
	for range removers {
		go func() { answers <- r.Remove(t.Context(), w.Unit, w.Fence, true) }()
	}
	for range removers {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	mine := filters.NewArgs(filters.Arg("label", labelInstance+"="+string(w.Unit)))
	containers, err1 := local.api.ContainerList(t.Context(), container.ListOptions{All: true, Filters: mine})
	volumes, err2 := local.api.VolumeList(t.Context(), volume.ListOptions{Filters: mine})
	if err := errors.Join(err1, err2); err != nil || len(containers)+len(volumes.Volumes) > 0 {
		text, _ := json.Marshal(containers)
		t.Errorf("left: %s %v (%v)", text, volumes.Volumes, err)
	}
}

func waitForEnd(t *testing.T, r *Runtime, id host.UnitID) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		u, err := r.Inspect(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if !u.Running {
			break
		}
		if err := backoff.Wait(ctx, 20*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	text, err := r.Output(ctx, id, 100)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
