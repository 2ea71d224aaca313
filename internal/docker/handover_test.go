package docker

import (
	"context"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

// TestHandover looks at a container that took its files, from inside and from outside,
// and starts it again by hand, when nobody hands it anything.
func TestHandover(t *testing.T) {
	local := newRealEngine(t)
	r, w := local.runtime(t), ownData(local.workload(t))
	strange := "end\n4 0000 ./x\n \t two  \\n '$(id)' %s \\\n\n-n\n"
	for b := range 256 {
		if b > 0 && b != '\n' {
			strange += string([]byte{'.', byte(b)})
		}
	}
	strange += "\n"
	w.Files = append(w.Files, host.File{Path: "/data/a b/c", Mode: 0o440, Content: secret.New(strange)})
	w.Command = []string{"/bin/sh", "-c", `stat -c '%n %a %u:%g' /data /data/*b /data/*b/c; ls -A /data; umask; cat; sleep 600`}
	start(t, r, w)
	want := "/data 700 999:999\n/data/a b 700 999:999\n/data/a b/c 440 999:999\n.berth\na b\nredis.conf\n0022\n"
	says := func(want string) {
		t.Helper()
		text := ""
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && text != want; {
			var err error
			if text, err = r.Output(t.Context(), w.Unit, 100); err != nil {
				t.Fatal(err)
			}
			_ = backoff.Wait(t.Context(), 20*time.Millisecond)
		}
		if text != want {
			t.Errorf("it says %q, want %q", text, want)
		}
	}
	says(want)
	if f, _ := local.file(t, w.Unit, "/data/a b/c"); f.Content.Reveal() != strange {
		t.Errorf("the file is %q, want %q", f.Content.Reveal(), strange)
	}
	c, raw, err := local.api.ContainerInspectWithRaw(t.Context(), nameOf(w.Unit), true)
	if err != nil || strings.Contains(string(raw), testPassword) {
		t.Errorf("the password is in docker inspect, or %v", err)
	}
	now := 0
	if err := local.api.ContainerRestart(t.Context(), c.ID, container.StopOptions{Timeout: &now}); err != nil {
		t.Fatal(err)
	}
	says(want + want)
}

// TestHandoverLeavesNothing looks for a dead child that the server would not know.
func TestHandoverLeavesNothing(t *testing.T) {
	local := newRealEngine(t)
	r, w := local.runtime(t), ownData(local.workload(t))
	if err := r.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	input, err := inputOf(w)
	if err != nil {
		t.Fatal(err)
	}
	to, err := r.engine.attach(t.Context(), nameOf(w.Unit))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := local.api.ContainerStart(t.Context(), nameOf(w.Unit), container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	<-time.After(500 * time.Millisecond) // until the guard stands
	if _, err := to.Conn.Write(input); err != nil {
		t.Fatal(err)
	}
	for tries := 0; ; tries++ {
		text := local.processes(t, w.Unit)
		if strings.Contains(text, "redis-server") {
			if strings.Contains(text, "zombie") {
				t.Errorf("in the container are:\n%s", text)
			}
			return
		}
		if tries == 100 {
			t.Fatalf("the server is not there; in the container are:\n%s", text)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// processes gives the names and states of what runs in the container.
func (r *realEngine) processes(t *testing.T, id host.UnitID) string {
	t.Helper()
	look, err := r.api.ContainerExecCreate(t.Context(), nameOf(id), container.ExecOptions{
		AttachStdout: true, Tty: true, Cmd: []string{"/bin/sh", "-c", "cat /proc/[0-9]*/status | grep -e ^Name -e ^State"},
	})
	if err != nil {
		t.Fatal(err)
	}
	seen, err := r.api.ContainerExecAttach(t.Context(), look.ID, container.ExecAttachOptions{Tty: true})
	if err != nil {
		t.Fatal(err)
	}
	defer seen.Close()
	text, err := io.ReadAll(seen.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestHandoverCutOff has somebody vanish who was handing over, and an image whose data
// folder is another user's.
func TestHandoverCutOff(t *testing.T) {
	local := newRealEngine(t)
	r := local.runtime(t)
	whole, err := inputOf(local.workload(t))
	if err != nil {
		t.Fatal(err)
	}
	notWhole := regexp.MustCompile("did not arrive whole")
	for name, c := range map[string]struct {
		user  string
		input []byte
		words *regexp.Regexp
	}{
		"nothing came":    {"999:999", nil, notWhole},
		"half came":       {"999:999", whole[:len(whole)/2], notWhole},
		"the end is away": {"999:999", whole[:len(whole)-4], notWhole},
		// The mode and the files are asked for at once.
		"somebody else's": {"4711:4712", whole, regexp.MustCompile("not permitted|denied")},
	} {
		t.Run(name, func(t *testing.T) {
			w := ownData(local.workload(t))
			w.User = c.user
			if err := r.Create(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			made, err := r.own(t.Context(), w.Unit, w.Fence)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.engine.startWith(t.Context(), made.ID, c.input); err != nil {
				t.Fatal(err)
			}
			if text := waitForEnd(t, r, w.Unit); !c.words.MatchString(text) {
				t.Errorf("it says %q", text)
			}
			// The next claim makes it anew, and this time all is well.
			w.User, w.Fence = "999:999", w.Fence+1
			if c.user == w.User {
				start(t, r, w)
				local.file(t, w.Unit, w.Files[0].Path)
			}
		})
	}
}

// TestHandoverToHungEngine has an engine that hangs when it is asked for the input.
func TestHandoverToHungEngine(t *testing.T) {
	hang := make(chan struct{})
	r := runtimeOn(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		if q.URL.Path != "/_ping" {
			<-hang
		}
	}), Config{CallLimit: 200 * time.Millisecond})
	t.Cleanup(func() { close(hang) })
	begun := time.Now()
	if err := r.engine.startWith(t.Context(), "x", []byte("end\n")); fault.CodeOf(err) != fault.CodeHostUnavailable {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.engine.startWith(ctx, "x", nil); err == nil || ctx.Err() == nil {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestHandoverToNoEngine has the engine go away before it is asked for the input.
func TestHandoverToNoEngine(t *testing.T) {
	r := runtimeOn(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		if q.URL.Path == "/_ping" {
			return
		}
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}
	}), Config{})
	if err := r.engine.startWith(t.Context(), "x", nil); fault.CodeOf(err) != fault.CodeHostUnavailable {
		t.Errorf("got %v", err)
	}
}

// TestHandoverRefused compares the errors of the two ways to start: what the engine says
// means the same.
func TestHandoverRefused(t *testing.T) {
	for _, status := range []int{http.StatusNotFound, http.StatusConflict, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		r := runtimeOn(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Api-Version", "1.41")
			if q.URL.Path != "/_ping" {
				w.WriteHeader(status)
				_, _ = w.Write([]byte(`{"message":"the engine says why"}`))
			}
		}), Config{})
		with, without := r.engine.startWith(t.Context(), "x", []byte("end\n")), r.engine.startContainer(t.Context(), "x")
		if fault.CodeOf(with) != fault.CodeOf(without) {
			t.Errorf("%d: %v, but without files %v", status, with, without)
		}
	}
}

// TestHandoverOfNoText has files that the shell could not write as they are.
func TestHandoverOfNoText(t *testing.T) {
	for _, content := range []string{"no end", "line\nno end", "line\x00\n"} {
		w := host.Workload{DataPath: "/data", Files: []host.File{{Path: "/data/x", Mode: 0o400, Content: secret.New(content)}}}
		if input, err := inputOf(w); err == nil {
			t.Errorf("%q became %q", content, input)
		}
	}
}

// TestHandoverByNobody has somebody start a container by hand that has no files yet: it
// ends, so that it is found dead.
func TestHandoverByNobody(t *testing.T) {
	t.Parallel()
	local := newRealEngine(t)
	r, w := local.runtime(t), ownData(local.workload(t))
	if err := r.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if err := local.api.ContainerStart(t.Context(), nameOf(w.Unit), container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	if text := waitForEnd(t, r, w.Unit); !strings.Contains(text, "nobody handed over") {
		t.Errorf("it says %q", text)
	}
}
