package smoke

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

const (
	// noticed is how soon an ended container must be known for one, on a busy machine; the
	// test says how soon it was.
	noticed = 15 * time.Second
	// mended is how soon it must be usable again.
	mended = 30 * time.Second
)

// TestRepair breaks things by hand, as people with a shell on the host do, and waits
// for Berth to find and mend them.
func TestRepair(t *testing.T) {
	t.Parallel()
	dev := startDev(t, "BERTH_RECONCILE_EVERY=1s", "BERTH_RECONCILE_GRACE=2s", "BERTH_PROBE_EVERY=2s")
	frozen := runningRedis(t, dev)
	container := containerIDOf(t, frozen.ID)
	docker(t, "pause", container) // it takes three misses, so it waits while the others are at it
	t.Run("killed", func(t *testing.T) {
		s := runningRedis(t, dev)
		docker(t, "kill", containerOf(t, s.ID))
		awaitRepair(t, dev, s)
		removeQuietly(t, dev, s)
	})
	t.Run("container removed", func(t *testing.T) {
		s := runningRedis(t, dev)
		docker(t, "rm", "--force", containerOf(t, s.ID))
		awaitRepair(t, dev, s)
		removeQuietly(t, dev, s)
	})
	t.Run("container and volume removed", func(t *testing.T) {
		s := runningRedis(t, dev)
		volumes := volumesWith(t, "berth.instance="+s.ID)
		container := containerOf(t, s.ID)
		testenv.Eventually(t, "the volume is removed", mended, func(ctx context.Context) error {
			// Where Berth is quicker, it has a container on the volume again.
			_, _ = runDocker(ctx, "rm", "--force", container)
			out, err := runDocker(ctx, append([]string{"volume", "rm"}, volumes...)...)
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			return err
		})
		awaitState(t, dev, s, "failed", mended)
		if inst, _ := dev.Instance(t.Context(), s.ID); !strings.Contains(inst.Reason, "gone") {
			t.Errorf("its reason is %q", inst.Reason)
		}
		removeQuietly(t, dev, s)
	})
	t.Run("orphans and strangers", func(t *testing.T) { orphansAndStrangers(t, dev) })
	t.Run("frozen", func(t *testing.T) {
		awaitState(t, dev, frozen, "unhealthy", time.Minute)
		docker(t, "unpause", container)
		awaitState(t, dev, frozen, "running", mended)
		if again := containerIDOf(t, frozen.ID); again != container {
			t.Error("it was replaced for not answering")
		}
		removeQuietly(t, dev, frozen)
	})
	rows := testenv.OpenDatabase(t, dev.databaseURL())
	for what, query := range map[string]string{
		"ports that are held":        "SELECT COUNT(*) FROM ports WHERE instance_id IS NOT NULL",
		"instances that are watched": "SELECT COUNT(*) FROM watches",
		"credentials":                "SELECT COUNT(*) FROM credentials",
	} {
		if n := one[int](t, rows, query); n != 0 {
			t.Errorf("after the deletes there are %d %s", n, what)
		}
	}
}

// runningRedis gives a Redis with something in it.
func runningRedis(t *testing.T, dev *development) *service {
	t.Helper()
	s := create(t, dev.server, "redis", "", map[string]any{"appendfsync": "always"})
	s.awaitRunning(t, dev.server)
	if err := workRedis(t.Context(), openRedis(t, s.conn), "kept"); err != nil {
		t.Fatal(err)
	}
	return s
}

// awaitRepair waits until the end of the instance is known, and then until it has its
// data back, at the same place and with the same password.
func awaitRepair(t *testing.T, dev *development, s *service) {
	t.Helper()
	broken := time.Now()
	rows := awaitNoticed(t, dev, s)
	t.Logf("noticed after %s", time.Since(broken).Round(time.Millisecond))
	awaitState(t, dev, s, "running", mended)
	t.Logf("running after %s", time.Since(broken).Round(time.Millisecond))
	again := openRedis(t, s.conn)
	testenv.Eventually(t, "it has its data", usable, func(ctx context.Context) error { return readRedis(ctx, again, "kept") })
	if n := one[int](t, rows, "SELECT COUNT(*) FROM jobs WHERE instance_id = ? AND kind = 'instance.repair'", s.ID); n != 1 {
		t.Errorf("it took %d repairs", n)
	}
}

// awaitNoticed waits until the end of the instance is known.
func awaitNoticed(t *testing.T, dev *development, s *service) *sql.DB {
	t.Helper()
	rows := testenv.OpenDatabase(t, dev.databaseURL())
	testenv.Eventually(t, "the end is noticed", noticed, func(ctx context.Context) error {
		var n int
		err := rows.QueryRowContext(ctx, "SELECT COUNT(*) FROM events WHERE instance_id = ? AND type = 'instance.unhealthy'", s.ID).Scan(&n)
		if err == nil && n == 0 {
			err = errors.New("no event yet")
		}
		return err
	})
	return rows
}

func awaitState(t *testing.T, dev *development, s *service, want string, limit time.Duration) {
	t.Helper()
	testenv.Eventually(t, s.ID+" is "+want, limit, func(ctx context.Context) error {
		inst, err := dev.Instance(ctx, s.ID)
		if err == nil && string(inst.State) != want {
			err = fmt.Errorf("it is %s (%s)", inst.State, inst.Reason)
		}
		return err
	})
}

func removeQuietly(t *testing.T, dev *development, s *service) {
	t.Helper()
	if err := dev.remove(t.Context(), client.Instance{ID: s.ID, Engine: s.Engine}); err != nil {
		t.Errorf("delete %s: %v", s.ID, err)
	}
	if left := append(containersWith(t, "berth.instance="+s.ID), volumesWith(t, "berth.instance="+s.ID)...); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// orphansAndStrangers leaves things on the host that look like ours, and are not, and
// one that is ours and that nobody knows.
func orphansAndStrangers(t *testing.T, dev *development) {
	s := runningRedis(t, dev)
	container := containerIDOf(t, s.ID)
	image := docker(t, "inspect", "--format", "{{.Config.Image}}", container)
	ours := "berth.deployment=" + deployment(t, testenv.OpenDatabase(t, dev.databaseURL()))
	tail := strings.ToLower(s.ID[len(s.ID)-8:])
	run := func(name string, labels ...string) string {
		args := []string{"run", "--detach", "--name", name, "--entrypoint", "sleep"}
		for _, l := range labels {
			args = append(args, "--label", l)
		}
		docker(t, append(args, image, "600")...)
		t.Cleanup(func() { _, _ = runDocker(context.WithoutCancel(t.Context()), "rm", "--force", name) })
		return name
	}
	orphanID := "ins_orphan" + tail
	strangers := []string{
		run("berth-stranger-" + tail),
		run("berth-ins_other"+tail, "berth.deployment=dep_other"+tail, "berth.instance=ins_other"+tail, "berth.fence=1"),
	}
	run("berth-"+orphanID, ours, "berth.instance="+orphanID, "berth.fence=1")
	docker(t, "volume", "create", "--label", ours, "--label", "berth.instance="+orphanID, "--label", "berth.fence=1", "berth-"+orphanID)
	//nolint:contextcheck // these take the test's
	testenv.Eventually(t, "the orphan is removed", mended, func(context.Context) error {
		left := append(containersWith(t, "berth.instance="+orphanID), volumesWith(t, "berth.instance="+orphanID)...)
		if len(left) > 0 {
			return fmt.Errorf("left are %v", left)
		}
		return nil
	})
	for _, name := range strangers {
		if state := docker(t, "inspect", "--format", "{{.State.Running}}", name); state != "true" {
			t.Errorf("%s was touched", name)
		}
	}
	awaitState(t, dev, s, "running", mended)
	if again := containerIDOf(t, s.ID); again != container {
		t.Error("what is known was made anew")
	}
	removeQuietly(t, dev, s)
}
