package startstop

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// TestFullDisk fills the disk of the data folder, and frees it again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := testenv.NewDisk(t, 16)
	w := newDev(t)
	w.folder = filepath.Join(disk.Path, "data")
	p := w.start("dev", "BERTH_DATA_DIR="+w.folder)
	w.ready(p)
	w.make()
	disk.Fill()
	once, err := client.New(client.Config{URL: "http://" + w.addr, APIKey: w.read("admin.key"), Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	const words = "the disk of Berth's database is full"
	// What is allocated already may do for a few.
	testenv.Eventually(t, "a create is refused", startLimit, func(ctx context.Context) error {
		_, err := once.Create(ctx, "redis", "", client.CreateRequest{})
		var problem *client.Problem
		if !errors.As(err, &problem) {
			return errors.Join(errors.New("it was not refused"), err)
		}
		if problem.Status != http.StatusServiceUnavailable || problem.Code != "unavailable" || !strings.Contains(problem.Detail, words) {
			t.Fatalf("%+v", problem)
		}
		return nil
	})
	status, body, err := get(t.Context(), "http://"+w.addr+"/readyz")
	if err != nil || status != http.StatusServiceUnavailable || !strings.Contains(body, words) || !strings.Contains(body, `"database":"down"`) {
		t.Errorf("%d %s, %v", status, body, err)
	}
	disk.Free()
	w.ready(p)
	w.make()
}

// TestSocketOfAnother is started by a user who may not open Docker's socket.
func TestSocketOfAnother(t *testing.T) {
	t.Parallel()
	w := newDev(t)
	folder, err := os.MkdirTemp("", "berth-socket-")
	if err == nil {
		err = errors.Join(os.Mkdir(w.folder, 0o700), os.Chown(w.folder, nobody, nobody), os.Chmod(folder, 0o755))
	}
	if err != nil {
		t.Fatalf("%v; run these tests as root", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	for path := filepath.Dir(w.folder); path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(folder, "docker.sock")
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "unix", socket)
	if err == nil {
		err = os.Chmod(socket, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })

	settings := slices.Concat(w.settings, []string{"BERTH_SIMULATED_HOSTS=0", "BERTH_DOCKER_HOST=unix://" + socket})
	p := testenv.Start(t, "setpriv", settings, "--reuid=65534", "--regid=65534", "--clear-groups", binary, "dev")
	w.answers(p, "/healthz")
	words := []string{"permission denied", socket, "usermod -aG docker"}
	status, body, err := get(t.Context(), "http://"+w.addr+"/readyz")
	if err != nil || status != http.StatusServiceUnavailable || !containsAll(body, append(words, `"docker":"down"`)) {
		t.Errorf("%d %s, %v", status, body, err)
	}
	c := w.client()
	a, err := c.Create(t.Context(), "redis", "", client.CreateRequest{})
	if err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the job says why", startLimit, func(ctx context.Context) error {
		job, err := c.Job(ctx, a.Job.ID, 0)
		if err != nil {
			return err
		}
		for _, step := range job.Steps {
			if containsAll(step.Error, words) {
				return nil
			}
		}
		if job.Error != nil && containsAll(job.Error.Message, words) {
			return nil
		}
		return errors.New("it says nothing of it")
	})
	logs(t, p, "permission denied")
}

// nobody is the user with no rights.
const nobody = 65534
