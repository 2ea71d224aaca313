package smoke

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/testenv"
)

// customImage gives an image as an operator's own may be: without a volume and an
// entrypoint, and with a data folder that belongs to root.
func customImage(t *testing.T, of, folder string) string {
	t.Helper()
	name := strings.ToLower("berth-test/custom:" + rand.Text())
	from := docker(t, "create", localImage(t, of))
	exported := t.TempDir() + "/image.tar"
	docker(t, "export", "--output", exported, from)
	docker(t, "rm", "--force", "--volumes", from)
	docker(t, "import", "--change", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", exported, name+"-bare")
	t.Cleanup(func() { removeImages(t, name, name+"-bare") })
	made := docker(t, "run", "--detach", name+"-bare", "sh", "-c", "chown root:root "+folder+" && chmod 0755 "+folder)
	if code := docker(t, "wait", made); code != "0" {
		t.Fatalf("the data folder of an image: code %s", code)
	}
	docker(t, "commit", made, name)
	docker(t, "rm", made)
	return name
}

// removeImages removes them, and the golden data that was made upon one of them.
func removeImages(t *testing.T, names ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	id, _ := runDocker(ctx, "image", "inspect", "--format", "{{.Id}}", names[0])
	goldens, _ := runDocker(ctx, "images", "--filter", "label=berth.golden", "--filter", "since="+names[0], "--format", "{{.Repository}}:{{.Tag}}")
	for _, golden := range strings.Fields(goldens) {
		if parent, _ := runDocker(ctx, "image", "inspect", "--format", "{{.Parent}}", golden); parent == id {
			names = append([]string{golden}, names...)
		}
	}
	if out, err := runDocker(ctx, append([]string{"image", "rm", "--force"}, names...)...); err != nil {
		t.Errorf("images are left: %s", out)
	}
}

// TestCustomImages has images of the operator's own for both engines, with and without the
// warm pool.
func TestCustomImages(t *testing.T) {
	t.Parallel()
	images := []string{
		"BERTH_IMAGE_MYSQL=" + customImage(t, "mysql:9.7", "/var/lib/mysql"),
		"BERTH_IMAGE_REDIS=" + customImage(t, "redis:8", "/data"),
	}
	for _, test := range []struct {
		name, pool, step string
	}{
		{"cold", "", "reserve"},
		{"warm", "redis:small=1,mysql:small=1", "adopt"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dev := startDev(t, append([]string{"BERTH_WARM_POOL=" + test.pool, noSweeps}, images...)...)
			if test.pool != "" {
				awaitWarm(t, testenv.OpenDatabase(t, dev.databaseURL()), 2)
			}
			for _, engine := range []string{"mysql", "redis"} {
				s := create(t, dev.server, engine, "", nil)
				s.awaitRunning(t, dev.server)
				job, err := dev.Job(t.Context(), s.created.ID, 0)
				if err != nil || job.Steps[0].Name != test.step || job.Steps[0].State != "done" {
					t.Errorf("%s was made by %+v, %v", engine, job.Steps, err)
				}
				removeQuietly(t, dev, s)
			}
		})
	}
}

// localImage gives the public image, or what stands in for it.
func localImage(t *testing.T, ref string) string {
	t.Helper()
	for _, name := range []string{ref, "berth/" + ref} {
		if _, err := runDocker(t.Context(), "image", "inspect", name); err == nil {
			return name
		}
	}
	t.Fatalf("%s is not here; %s", ref, howToGet)
	return ""
}
