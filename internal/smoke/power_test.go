package smoke

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// TestPower restarts, stops and starts a MySQL and a Redis that a client works with: they keep what
// was confirmed, and where they are.
func TestPower(t *testing.T) {
	t.Parallel()
	dev := startDev(t)
	re := runningRedis(t, dev)
	my := create(t, dev.server, "mysql", "", nil)
	my.awaitRunning(t, dev.server)
	db := openMySQL(t, my.conn)
	for _, statement := range []string{"CREATE TABLE kept (word VARCHAR(20))", "INSERT INTO kept VALUES ('kept')"} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	read := map[string]func(context.Context) error{
		"redis": func(ctx context.Context) error { return readRedis(ctx, openRedis(t, re.conn), "kept") },
		"mysql": func(ctx context.Context) error {
			var word string
			err := db.QueryRowContext(ctx, "SELECT word FROM kept").Scan(&word)
			if err == nil && word != "kept" {
				err = errors.New(word)
			}
			return err
		},
	}
	for _, s := range []*service{my, re} {
		for _, force := range []bool{false, true} {
			act(t, dev, s, "restart", force)
			testenv.Eventually(t, s.Engine+" has its data", usable, read[s.Engine])
		}
		act(t, dev, s, "stop", false)
		if inst, err := dev.Instance(t.Context(), s.ID); err != nil || inst.State != "stopped" {
			t.Errorf("%s is %s, %v", s.Engine, inst.State, err)
		}
		if left := docker(t, "ps", "--all", "--quiet", "--filter", "label=berth.instance="+s.ID); left != "" {
			t.Errorf("a stopped %s has the container %s", s.Engine, left)
		}
		act(t, dev, s, "start", false)
		testenv.Eventually(t, s.Engine+" has its data", usable, read[s.Engine])
		act(t, dev, s, "stop", true)
		removeQuietly(t, dev, s)
	}
	checkNothingHeld(t, testenv.OpenDatabase(t, dev.databaseURL()))
}

// act has something done with the server, and says how long that took.
func act(t *testing.T, dev *development, s *service, verb string, force bool) {
	t.Helper()
	begun := time.Now()
	accepted, err := dev.Act(t.Context(), s.Instance, verb, force)
	if err != nil {
		t.Fatalf("%s %s: %v", verb, s.Engine, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), mended)
	defer cancel()
	job, err := dev.WaitJob(ctx, accepted.Job.ID, time.Second, nil)
	if err != nil || job.State != client.JobSucceeded {
		t.Fatalf("%s %s: %s, %+v, %v", verb, s.Engine, job.State, job.Error, err)
	}
	t.Logf("%s %s (force %t): %s", verb, s.Engine, force, time.Since(begun).Round(time.Millisecond))
}
