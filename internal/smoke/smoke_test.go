package smoke

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// development is a `berth dev` of this test, and what can be seen of it from behind.
type development struct {
	*server
	process *testenv.Process
	dir     string // of its data
}

// startDev starts a `berth dev` in a folder of its own and waits until it is ready.
// noSweeps leaves what is restarted by hand alone while it is down.
const noSweeps = "BERTH_RECONCILE_EVERY=1h"

func startDev(t *testing.T, settings ...string) *development {
	t.Helper()
	dir, addr, label := t.TempDir(), testenv.FreeAddress(t), ""
	sweepAfter(t, &label)
	d := &development{dir: dir}
	d.process = testenv.Start(t, binary, append([]string{
		"BERTH_HTTP_ADDR=" + addr, "BERTH_DATA_DIR=" + dir, "BERTH_PORT_RANGE=" + testenv.PortRange(t, 100), "BERTH_LOG_FORMAT=json", "BERTH_LOG_LEVEL=debug",
	}, settings...), "dev")
	d.server = newServer(t, "http://"+addr, "")
	d.awaitReady(t, d.process)
	key, err := os.ReadFile(filepath.Join(dir, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	d.server = newServer(t, "http://"+addr, strings.TrimSpace(string(key)))
	label = "berth.deployment=" + deployment(t, testenv.OpenDatabase(t, d.databaseURL()))
	return d
}

func (d *development) databaseURL() string { return "sqlite://" + filepath.Join(d.dir, "berth.db") }

// service is an instance under test.
type service struct {
	client.Instance
	created client.Job
	secret  string // of its callbacks
	conn    client.Connection
}

// TestSmoke is a tenant's whole story: ask, connect, work, lose nothing, delete, leave
// nothing; and nobody sees a secret on the way.
func TestSmoke(t *testing.T) {
	srv, dev, redisURL := (*server)(nil), (*development)(nil), ""
	commandLines := watchCommandLines(t)
	var redisCommands *watched
	if givenURL != "" {
		srv = newServer(t, givenURL, givenKey)
	} else {
		redisURL = testenv.Redis(t)
		redisCommands = watchRedis(t, redisURL)
		dev = startDev(t, "BERTH_REDIS_URL="+redisURL, noSweeps)
		srv = dev.server
	}
	hooks := newReceiver(t)
	my := create(t, srv, "mysql", hooks.url+"/mysql/created", map[string]any{"charset": "latin1", "binlog_format": "ROW"})
	re := create(t, srv, "redis", hooks.url+"/redis/created", map[string]any{"maxmemory": "64mb", "maxclients": 50, "appendfsync": "always"})
	for _, s := range []*service{my, re} {
		s.awaitRunning(t, srv)
		hooks.expect(t, "/"+s.Engine+"/created", s.secret, "job.succeeded", s.ID, s.created.ID)
	}

	useMySQL(t, my)
	useRedis(t, re)

	hidden := secrets{
		"MySQL password": my.conn.Password, "Redis password": re.conn.Password, "admin key": srv.key,
		"MySQL's signing secret": my.secret, "Redis's signing secret": re.secret,
		"bare signing secret": strings.TrimPrefix(my.secret, "whsec_"),
	}
	if dev != nil {
		keyFile := filepath.Join(dev.dir, "master.key")
		master, err := os.ReadFile(keyFile)
		if err != nil {
			t.Fatal(err)
		}
		hidden["master key"] = strings.TrimSpace(string(master))
		root := adminPassword(t, testenv.OpenDatabase(t, dev.databaseURL()), keyFile, my.ID)
		hidden["MySQL root password"] = root
		refusedByMySQL(t, my.conn, "root", root) // it is for the inside only
		hidden.absentFrom(t, "Redis", expectIn(t, "Redis", dumpRedis(t, redisURL), "asynq:queues"))
	}
	var volumes []string
	for _, s := range []*service{my, re} {
		container := containerOf(t, s.ID)
		mounted := strings.Fields(docker(t, "inspect", "--format", "{{range .Mounts}}{{.Name}} {{end}}", container))
		volumes = append(volumes, mounted...)
		hidden.absentFrom(t, "docker inspect of "+s.Engine, docker(t, append([]string{"inspect", container}, mounted...)...))
		hidden.absentFrom(t, "docker logs of "+s.Engine, docker(t, "logs", container))
	}
	hidden.absentFromAnswers(t, srv, []string{my.ID, re.ID}, []string{my.created.ID, re.created.ID})

	var ended []string
	for _, s := range []*service{my, re} {
		ended = append(ended, s.remove(t, srv, hooks))
	}
	hidden.absentFromAnswers(t, srv, []string{my.ID, re.ID}, append(ended, my.created.ID, re.created.ID))
	checkVolumesGone(t, volumes)
	hidden.absentFrom(t, "a command line", expectIn(t, "what processes were called with", commandLines.text(), "redis-server"))
	if dev == nil {
		return // what follows is behind the server, which is not ours
	}
	rows := testenv.OpenDatabase(t, dev.databaseURL())
	testenv.Eventually(t, "the callbacks are written as delivered", 10*time.Second, func(ctx context.Context) error {
		var pending int
		err := rows.QueryRowContext(ctx, "SELECT COUNT(*) FROM deliveries WHERE state = 'pending'").Scan(&pending)
		if err == nil && pending > 0 {
			err = fmt.Errorf("%d are pending", pending)
		}
		return err
	})
	checkNothingHeld(t, rows)
	hidden.absentFrom(t, "what was sent to Redis", expectIn(t, "what was sent to Redis", redisCommands.text(), my.created.ID))
	hidden.absentFromFiles(t, filepath.Join(dev.dir, "berth.db*"))
	dev.process.Stop()
	hidden["Redis URL"] = redisURL
	hidden.absentFrom(t, "Berth's log", expectIn(t, "Berth's log", dev.process.Log(), "job claimed"))
	hidden.absentFromFiles(t, filepath.Join(dev.dir, "berth.db*"))
}

// create asks for an instance with a callback.
func create(t *testing.T, srv *server, engine, callback string, parameters map[string]any) *service {
	t.Helper()
	begun := time.Now()
	a, err := srv.Create(t.Context(), engine, "", client.CreateRequest{Parameters: parameters, CallbackURL: callback})
	if err != nil {
		t.Fatalf("create %s: %v", engine, err)
	}
	t.Logf("%s %s accepted after %s", engine, a.Instance.ID, time.Since(begun).Round(time.Millisecond))
	t.Cleanup(func() {
		if t.Failed() { // else the test has deleted it
			_ = srv.remove(context.WithoutCancel(t.Context()), a.Instance)
		}
	})
	if !strings.HasPrefix(a.WebhookSecret, "whsec_") {
		t.Errorf("create %s shows no signing secret", engine)
	}
	return &service{Instance: a.Instance, created: a.Job, secret: a.WebhookSecret}
}

func (s *service) awaitRunning(t *testing.T, srv *server) {
	t.Helper()
	if err := srv.await(t.Context(), s.created, 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.conn, err = srv.Connection(t.Context(), s.Instance); err != nil {
		t.Fatalf("config of %s: %v", s.ID, err)
	}
	containerOf(t, s.ID)
}

// remove deletes the instance, looks whether it is gone, and gives the job's id.
func (s *service) remove(t *testing.T, srv *server, hooks *receiver) string {
	t.Helper()
	path := "/" + s.Engine + "/deleted"
	accepted, err := srv.deleteWithCallback(t.Context(), s.Instance, hooks.url+path)
	if err != nil {
		t.Fatalf("delete %s: %v", s.ID, err)
	}
	if err := srv.await(t.Context(), accepted.Job, 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	hooks.expect(t, path, s.secret, "job.succeeded", s.ID, accepted.Job.ID)
	if left := append(containersWith(t, "berth.instance="+s.ID), volumesWith(t, "berth.instance="+s.ID)...); len(left) > 0 {
		t.Errorf("%s is deleted, but there is still %v", s.ID, left)
	}
	if gone, err := srv.Instance(t.Context(), s.ID); err != nil || gone.State != "deleted" {
		t.Errorf("%s is %s after its delete (%v), want deleted", s.ID, gone.State, err)
	}
	var refusal *client.Problem
	if _, err := srv.Connection(t.Context(), s.Instance); !errors.As(err, &refusal) || refusal.Status != http.StatusGone {
		t.Errorf("the config of a deleted instance is answered with %v, want 410", err)
	}
	return accepted.Job.ID
}

func useMySQL(t *testing.T, s *service) {
	t.Helper()
	settings := map[string]string{"character_set_server": "latin1", "character_set_database": "latin1", "binlog_format": "ROW"}
	db := openMySQL(t, s.conn)
	checkMySQLSettings(t, db, settings)
	checkMySQLRights(t, db, s.conn)
	if err := workMySQL(t.Context(), db, "kept"); err != nil {
		t.Fatalf("use MySQL: %v", err)
	}
	refusedByMySQL(t, s.conn, s.conn.Username, "wrong")
	refusedByMySQL(t, s.conn, s.conn.Username, "")
	refusedByMySQL(t, s.conn, "root", "")
	docker(t, "restart", "--time", "60", containerOf(t, s.ID))
	again := openMySQL(t, s.conn)
	testenv.Eventually(t, "MySQL has its data after docker restart", usable, func(ctx context.Context) error { return readMySQL(ctx, again, "kept") })
	checkMySQLSettings(t, again, settings)
	checkMySQLRights(t, again, s.conn)
	refusedByMySQL(t, s.conn, s.conn.Username, "wrong")
}

func useRedis(t *testing.T, s *service) {
	t.Helper()
	settings := map[string]string{"maxmemory": "67108864", "maxclients": "50", "appendfsync": "always"}
	rdb := openRedis(t, s.conn)
	checkRedisSettings(t, rdb, settings)
	if err := workRedis(t.Context(), rdb, "kept"); err != nil {
		t.Fatalf("use Redis: %v", err)
	}
	refusedByRedis(t, s.conn, "wrong", "WRONGPASS")
	refusedByRedis(t, s.conn, "", "NOAUTH")
	docker(t, "restart", "--time", "60", containerOf(t, s.ID))
	again := openRedis(t, s.conn)
	testenv.Eventually(t, "Redis has its data after docker restart", usable, func(ctx context.Context) error { return readRedis(ctx, again, "kept") })
	checkRedisSettings(t, again, settings)
	refusedByRedis(t, s.conn, "wrong", "WRONGPASS")
}

func checkVolumesGone(t *testing.T, volumes []string) {
	t.Helper()
	if len(volumes) < 2 {
		t.Errorf("the containers have the volumes %v; two were expected", volumes)
	}
	all := strings.Fields(docker(t, "volume", "ls", "--format", "{{.Name}}"))
	for _, name := range all {
		for _, ours := range volumes {
			if name == ours {
				t.Errorf("the volume %s is still there", name)
			}
		}
	}
}
