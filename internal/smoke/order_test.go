package smoke

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

// TestStartOrder starts what waits before what it waits for: each process says for
// what, ends in order when it is told to while it waits, and works once all is there.
func TestStartOrder(t *testing.T) {
	t.Parallel()
	database, databaseProxy := testenv.NewProxy(t, testenv.MySQL(t))
	redisURL, redisProxy := testenv.NewProxy(t, testenv.Redis(t))
	databaseProxy.Cut()
	redisProxy.Cut()
	addr := testenv.FreeAddress(t)
	settings := []string{
		"BERTH_DATABASE_URL=" + database, "BERTH_REDIS_URL=" + redisURL, "BERTH_HTTP_ADDR=" + addr, "BERTH_ADMIN_KEY=" + rand.Text() + rand.Text(), "BERTH_DRAIN_DELAY=0s",
		"BERTH_MASTER_KEY=" + base64.StdEncoding.EncodeToString([]byte(rand.Text() + rand.Text())[:32]), "BERTH_PORT_RANGE=" + testenv.PortRange(t, 100),
	}
	for _, kind := range []string{"api", "worker"} {
		p := testenv.Start(t, binary, settings, kind)
		says(t, p, "waiting for the database")
		p.Stop() // with 0
	}
	api, worker := testenv.Start(t, binary, settings, "api"), testenv.Start(t, binary, settings, "worker")
	says(t, api, "waiting for the database")
	databaseProxy.Restore(t)
	testenv.Start(t, binary, settings, "migrate").Finish(time.Minute)
	says(t, api, "listening")
	says(t, worker, "waiting for Redis")
	if strings.Contains(worker.Log(), "worker ready") {
		t.Error("a worker is ready without Redis")
	}
	idle := testenv.Start(t, binary, settings, "worker")
	says(t, idle, "waiting for Redis")
	idle.Stop()
	redisProxy.Restore(t)
	says(t, worker, "worker ready")
}

// says waits until the process has said so.
func says(t *testing.T, p *testenv.Process, words string) {
	t.Helper()
	testenv.Eventually(t, p.Name()+" says "+words, 30*time.Second, func(context.Context) error {
		if !strings.Contains(p.Log(), words) {
			return errors.New("not yet")
		}
		return nil
	})
}
