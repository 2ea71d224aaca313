package docker

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/volume"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

var update = flag.Bool("update", false, "write the golden files anew")

func sample() host.Workload {
	return host.Workload{
		Unit: "ins_01JD0000000000000000ABCDEF", Tenant: "default", Engine: "redis", Fence: 7,
		Image: "redis:8", Command: []string{"redis-server", "/data/redis.conf"}, User: "999:998",
		Resources: host.Resources{CPUMillis: 250, MemoryBytes: 256 << 20, DiskBytes: 1 << 30}, PidsLimit: 128,
		Ports: []host.PortBinding{{Name: "redis", Container: 6379, Host: 20017}}, Bind: "0.0.0.0",
		DataPath: "/data", Scratch: map[string]int64{"/tmp": 16 << 20, "/run": 1 << 20},
		Files: []host.File{
			{Path: "/data/conf/deep/users.acl", Mode: 0o400, Content: secret.New(testPassword)},
			{Path: "/data/redis.conf", Mode: 0o440, Content: secret.New("dir /data\n")},
		},
		StopGrace: 10500 * time.Millisecond,
	}
}

func TestSpecGolden(t *testing.T) {
	bare := host.Workload{
		Unit: "x", Engine: "user-defined", Fence: 1, Image: "some/image@sha256:00", Command: []string{"/bin/server"},
		User: "1:1", DataPath: "/var/lib/data", Ports: []host.PortBinding{{Name: "a", Container: 80}, {Name: "b", Container: 81, Host: 20001}},
	}
	for name, w := range map[string]host.Workload{"full": sample(), "bare": bare, "own-data": ownData(sample())} {
		t.Run(name, func(t *testing.T) {
			s, err := specOf(w, "dep-1")
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(struct {
				Volume    volume.CreateOptions
				Container spec
			}{volumeOf(w, "dep-1", true), s}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(got), testPassword) || len(s.Config.Env) > 0 {
				t.Error("the spec holds a secret, or an environment")
			}
			golden(t, filepath.Join("testdata", name+".json"), append(got, '\n'))
		})
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file) //nolint:gosec // a name of ours
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not as it was (-update accepts it):\n%s", file, got)
	}
}

func TestSpecDigest(t *testing.T) {
	digest := func(change func(*host.Workload)) string {
		w := sample()
		change(&w)
		s, err := specOf(w, "dep-1")
		if err != nil {
			t.Fatal(err)
		}
		return s.digest()
	}
	first := digest(func(*host.Workload) {})
	if again := digest(func(*host.Workload) {}); again != first {
		t.Error("the same workload has two digests")
	}
	for name, change := range map[string]func(*host.Workload){
		"port":    func(w *host.Workload) { w.Ports[0].Host++ },
		"memory":  func(w *host.Workload) { w.Resources.MemoryBytes++ },
		"command": func(w *host.Workload) { w.Command = append(w.Command, "x") },
	} {
		if digest(change) == first {
			t.Errorf("another %s has the same digest", name)
		}
	}
	if digest(func(w *host.Workload) { w.Files[0].Content = secret.New("x") }) != first {
		t.Error("the digest, which everybody can read, tells of a secret")
	}
}

func TestArchive(t *testing.T) {
	files, err := archiveOf(sample())
	if err != nil {
		t.Fatal(err)
	}
	whole, err := archiveFor(sample(), "/elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"conf/ 700 999:998 ", "conf/deep/ 700 999:998 ",
		"conf/deep/users.acl 400 999:998 " + testPassword, "redis.conf 440 999:998 dir /data\n",
	}
	if got := entriesOf(t, files); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for i := range want {
		want[i] = "elsewhere/" + want[i]
	}
	want = append([]string{"elsewhere/ 700 999:998 "}, want...)
	if got := entriesOf(t, whole); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// entriesOf also sees that each name is one that every engine takes: local, as Go's
// filepath has it.
func entriesOf(t *testing.T, archive []byte) (got []string) {
	t.Helper()
	for in := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if !filepath.IsLocal(h.Name) {
			t.Errorf("newer engines refuse the name %s", h.Name)
		}
		got = append(got, fmt.Sprintf("%s %o %d:%d %s", h.Name, h.Mode, h.Uid, h.Gid, content))
	}
}

func TestWorkloadsRefused(t *testing.T) {
	for name, change := range map[string]func(*host.Workload){
		"a file elsewhere":    func(w *host.Workload) { w.Files[0].Path = "/etc/passwd" },
		"a file climbing out": func(w *host.Workload) { w.Files[0].Path = "/data/../etc/passwd" },
		"the folder itself":   func(w *host.Workload) { w.Files[0].Path = "/data" },
		"a user by name":      func(w *host.Workload) { w.User = "redis" },
		"no group":            func(w *host.Workload) { w.User = "999" },
		"no command":          func(w *host.Workload) { w.Command = nil },
		"no data path":        func(w *host.Workload) { w.DataPath = "" },
	} {
		w := sample()
		change(&w)
		_, err1 := specOf(w, "dep-1")
		_, err2 := archiveOf(w)
		if err1 == nil && err2 == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestPortLabels(t *testing.T) {
	w := sample()
	got := portsOf(containerLabels(w, "dep-1"))
	if len(got) != 1 || got["redis"] != (boundPort{host: 20017, container: 6379}) {
		t.Errorf("read back: %v", got)
	}
	if got := portsOf(map[string]string{labelPort + "x": "nonsense", "other": "1:2"}); len(got) != 0 {
		t.Errorf("read from nonsense: %v", got)
	}
}

func TestExitCodeOfStatus(t *testing.T) {
	for status, want := range map[string]int{
		"Exited (3) 2 minutes ago": 3, "Exited (137) About an hour ago": 137, "Restarting (1) 5 seconds ago": 1,
		"Up 3 minutes": 0, "Created": 0, "": 0,
	} {
		if got := exitCodeOf(status); got != want {
			t.Errorf("%q: %d, want %d", status, got, want)
		}
	}
}

func TestTailIsBounded(t *testing.T) {
	var last tail
	for range 100 {
		_, _ = last.Write(bytes.Repeat([]byte("x"), 10_000))
	}
	_, _ = last.Write([]byte("the end"))
	if text := last.String(); len(text) != outputLimit || !strings.HasSuffix(text, "the end") {
		t.Errorf("kept %d bytes", len(text))
	}
}
