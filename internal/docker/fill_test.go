package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

// imageWith gives an image in which the script has run.
func (r *realEngine) imageWith(t *testing.T, script string) string {
	t.Helper()
	reference := "berth-test/with:" + strings.ToLower(rand.Text())
	c, err := r.api.ContainerCreate(t.Context(), &container.Config{
		Image: redisImages[1], User: "0", Entrypoint: []string{"/bin/sh", "-ec", script}, Labels: map[string]string{"berth.test": r.deployment},
	}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	ended, errs := r.api.ContainerWait(t.Context(), c.ID, container.WaitConditionNextExit)
	if err := r.api.ContainerStart(t.Context(), c.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case end := <-ended:
		if end.StatusCode != 0 {
			t.Fatalf("the script of an image ended with %d", end.StatusCode)
		}
	case err := <-errs:
		t.Fatal(err)
	}
	if _, err := r.api.ContainerCommit(t.Context(), c.ID, container.CommitOptions{Reference: reference}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := r.api.ImageRemove(context.Background(), reference, image.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	})
	return reference
}

// TestDataFolderOfAnyImage has images that give the data folder to all kinds of owners:
// with each, it is the user's.
func TestDataFolderOfAnyImage(t *testing.T) {
	local := newRealEngine(t)
	r := local.runtime(t)
	for name, script := range map[string]string{
		"nobody made it":     "true",
		"it is root's":       "mkdir -p /srv/d && chmod 755 /srv/d",
		"it is another's":    "mkdir -p /srv/d && chown 123:456 /srv/d && chmod 500 /srv/d",
		"it is not empty":    "mkdir -p /srv/d/conf && echo old >/srv/d/conf/a && chown -R 123 /srv/d && chmod 700 /srv/d/conf",
		"it is a link's end": "mkdir -p /opt/d /srv && chmod 755 /opt/d && ln -s /opt/d /srv/d",
	} {
		t.Run(name, func(t *testing.T) {
			w := local.workload(t)
			w.Image, w.DataPath = local.imageWith(t, script), "/srv/d"
			w.Files = []host.File{{Path: "/srv/d/conf/a", Mode: 0o600, Content: secret.New("new\n")}}
			w.Command = []string{"/bin/sh", "-c", "stat -c '%n %a %u:%g' /srv/d/ /srv/d/conf /srv/d/conf/a; cat /srv/d/conf/a; echo x >/srv/d/written && echo written"}
			start(t, r, w)
			want := "/srv/d/ 700 4711:4712\n/srv/d/conf 700 4711:4712\n/srv/d/conf/a 600 4711:4712\nnew\nwritten\n"
			if text := waitForEnd(t, r, w.Unit); text != want {
				t.Errorf("got %s, want %s", text, want)
			}
			if local.containerThere(t, nameOf(w.Unit)+fillerSuffix) {
				t.Error("what its files came through is left")
			}
		})
	}
}

// TestFillerLeft has a worker end while it copies files: what it leaves is in nobody's way.
func TestFillerLeft(t *testing.T) {
	local := newRealEngine(t)
	r := local.runtime(t)
	leave := func(t *testing.T) host.Workload {
		t.Helper()
		w := local.workload(t)
		if err := r.Create(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		if _, err := r.createFiller(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		return w
	}
	gone := func(t *testing.T, w host.Workload) {
		t.Helper()
		if local.containerThere(t, nameOf(w.Unit)+fillerSuffix) {
			t.Error("it is left")
		}
	}
	t.Run("the next claim creates", func(t *testing.T) {
		w := leave(t)
		if units, err := r.List(t.Context()); err != nil || len(units) != 1 || units[0].ID != w.Unit || units[0].Running {
			t.Errorf("the list has %+v, %v", units, err)
		}
		w.Fence++
		start(t, r, w)
		gone(t, w)
		if err := r.Remove(t.Context(), w.Unit, w.Fence, true); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("the instance is removed", func(t *testing.T) {
		w := leave(t)
		if err := r.Remove(t.Context(), w.Unit, w.Fence+1, true); err != nil {
			t.Fatal(err)
		}
		gone(t, w)
		if _, err := local.api.VolumeInspect(t.Context(), nameOf(w.Unit)); !cerrdefs.IsNotFound(err) {
			t.Errorf("its volume: %v", err)
		}
	})
	t.Run("a lost claim", func(t *testing.T) {
		w := leave(t)
		c, err := local.api.ContainerInspect(t.Context(), nameOf(w.Unit))
		if err != nil {
			t.Fatal(err)
		}
		next := w
		next.Fence++
		next.Files = []host.File{{Path: w.Files[0].Path, Mode: 0o400, Content: secret.New("save \"\"\n")}}
		if err := r.Create(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		if err := r.fill(t.Context(), w, c.ID); !errors.Is(err, fault.ErrNotFound) {
			t.Errorf("the old one: %v", err)
		}
		if f, _, err := local.fileNow(t, w.Unit, w.Files[0].Path); err != nil || f.Content.Reveal() != "save \"\"\n" {
			t.Errorf("the file has %q, %v", f.Content.Reveal(), err)
		}
	})
}
