package engine

import (
	"context"
	"crypto/rand"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// client connects by the URI that tenants get.
func (u *unit) client() *redis.Client {
	u.t.Helper()
	opts, err := redis.ParseURL(u.engine.Connection(u.inst, u.cred).URI.Reveal())
	if err != nil {
		u.t.Fatal(err)
	}
	opts.MaxRetries = -1
	c := redis.NewClient(opts)
	u.t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestRedisOnDocker(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"8", "7"} {
		for how, made := range makers {
			t.Run(how+" "+version, func(t *testing.T) { testRedis(t, version, made) })
		}
	}
}

func testRedis(t *testing.T, version string, made maker) {
	u := made(t, "redis", version, "small", map[string]any{
		"maxmemory": "64mb", "maxmemory_policy": "volatile-lfu", "maxclients": 50, "appendfsync": "always",
	})
	ctx := t.Context()
	c := u.client()

	for name, want := range map[string]string{
		"maxmemory": "67108864", "maxmemory-policy": "volatile-lfu", "maxclients": "50", "appendfsync": "always", "appendonly": "yes", "save": "",
	} {
		got, err := c.ConfigGet(ctx, name).Result()
		if err != nil || got[name] != want {
			t.Errorf("CONFIG GET %s: %q, %v; want %q", name, got[name], err, want)
		}
	}
	if info, err := c.Info(ctx, "server").Result(); err != nil || !strings.Contains(info, "redis_version:"+version+".") {
		t.Errorf("INFO: %v\n%s", err, info)
	}
	if n, err := c.DBSize(ctx).Result(); err != nil || n != 0 {
		t.Errorf("the probe left %d keys (%v)", n, err)
	}
	allows(t, c, "FLUSHALL", "KEYS *", "INFO", "ACL WHOAMI", "CLIENT LIST", "CLIENT SETNAME x", "SLOWLOG GET", "LATENCY LATEST",
		"MEMORY USAGE x", "MEMORY DOCTOR", "CONFIG RESETSTAT", "ROLE", "COMMAND COUNT", "SCRIPT FLUSH", "FUNCTION LIST", "PUBLISH a b", "TIME")
	forbids(t, c, "SHUTDOWN NOSAVE", "DEBUG SLEEP 1", "REPLICAOF 127.0.0.1 1", "SLAVEOF 127.0.0.1 1", "MODULE LIST", "MODULE LOAD /x.so",
		"ACL SETUSER evil on nopass +@all", "ACL LIST", "ACL GETUSER default", "ACL SAVE", "ACL LOAD", "ACL DELUSER default", "CONFIG SET maxmemory 1gb",
		"CONFIG REWRITE", "CONFIG SET dir /tmp", "CONFIG SET dbfilename x", "ACL USERS", "ACL DELUSER berth", "DEBUG SEGFAULT", "SLAVEOF NO ONE", "CLUSTER MEET 127.0.0.1 1", "SAVE", "BGSAVE", "BGREWRITEAOF", "SYNC", "PSYNC ? -1", "FAILOVER", "CLUSTER RESET", "CLIENT PAUSE 10",
		"MIGRATE 127.0.0.1 1 k 0 10", "PFDEBUG TODENSE k", "EVAL return(redis.call('config','set','maxmemory','0')) 0")

	redisHasModules(t, u, c)
	u.refusesWrongPassword()
	u.hidesSecrets()
	anonymous := u.cred
	anonymous.Username, anonymous.Password = "", secret.Secret{}
	if err := u.engine.Probe(ctx, u.inst, anonymous); err == nil {
		t.Error("it can be used without a password")
	}
	if out, err := u.exec("grep", "-r", u.cred.Password.Reveal(), "/data"); err == nil {
		t.Errorf("the password is in clear inside: %s", out)
	}

	if err := c.Set(ctx, "kept", "safe", 0).Err(); err != nil {
		t.Fatal(err)
	}
	docker(t, "restart", u.container)
	u.ready()
	if got, err := u.client().Get(ctx, "kept").Result(); err != nil || got != "safe" {
		t.Errorf("after a restart: %q, %v", got, err)
	}
	redisHasModules(t, u, u.client())
	docker(t, "kill", u.container)
	u.start()
	u.ready()
	if got, err := u.client().Get(ctx, "kept").Result(); err != nil || got != "safe" {
		t.Errorf("after a kill: %q, %v", got, err)
	}
	if code := u.stop(); code != "0" {
		t.Errorf("it ended with %s", code)
	}
}

// redisHasModules sees that the modules that the version's image has are there for the
// tenant, and what they have for administrators is not.
func redisHasModules(t *testing.T, u *unit, c *redis.Client) {
	t.Helper()
	info, err := c.Info(t.Context(), "modules").Result()
	if err != nil {
		t.Fatal(err)
	}
	version, _ := u.engine.Describe().Version(u.inst.Spec.Version)
	for _, name := range version.Modules {
		if !strings.Contains(info, "name="+name+",") {
			t.Errorf("module %s is not there: %s", name, info)
		}
	}
	if len(version.Modules) > 0 {
		allows(t, c, "FT._LIST", "FT.CREATE i SCHEMA t TEXT", "FT.SEARCH i x", "JSON.SET k $ 1", "JSON.GET k", "TS.ADD t 1 1", "TS.GET t", "BF.ADD b 1", "BF.EXISTS b 1")
		forbids(t, c, "FT.CONFIG SET TIMEOUT 1", "FT.CONFIG GET *", "_FT.DEBUG DUMP_TERMS i", "MODULE LOADEX /x.so", "MODULE UNLOAD search")
	}
}

// A module that is nothing but its name has no command that a rule could name.
func TestRedisUnknownModulesOnDocker(t *testing.T) {
	t.Parallel()
	source := "FROM " + localImage(t, []string{"redis:8", "berth/redis:8"}) + `
RUN cd /usr/local/lib/redis/modules && mv redisbloom.so other.so && rm redisearch.so rejson.so && : >empty.so && mkdir folder.so && cp other.so unreadable.so && chmod 0 unreadable.so`
	image := "berth-test/modules:" + strings.ToLower(rand.Text())
	if out, err := tryDocker([]byte(source), "build", "--tag", image, "-"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _, _ = tryDocker(nil, "image", "rm", "--force", image) })
	u := createOn(t, image, "redis", "8", "small", nil)
	u.start()
	u.ready()
	info, err := u.client().Info(t.Context(), "modules").Result()
	if err != nil || !strings.Contains(info, "name=bf,") || !strings.Contains(info, "name=timeseries,") || strings.Contains(info, "name=search,") {
		t.Errorf("INFO modules: %s, %v", info, err)
	}
	allows(t, u.client(), "BF.ADD b 1", "TS.GET t")
}

// The smallest values that are accepted leave a server that can be used.
func TestRedisSmallestOnDocker(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"8", "7"} {
		u := deploy(t, "redis", version, "small", map[string]any{"maxmemory": "4mb", "maxclients": 10})
		ctx := t.Context()
		if err := u.client().Set(ctx, "k", strings.Repeat("x", 1<<20), 0).Err(); err != nil {
			t.Errorf("%s: writing 1 MiB with maxmemory 4mb: %v", version, err)
		}
	}
}

func do(t *testing.T, c *redis.Client, command string) error {
	t.Helper()
	var args []any
	for word := range strings.FieldsSeq(command) {
		args = append(args, word)
	}
	err := c.Do(t.Context(), args...).Err()
	if err == redis.Nil { //nolint:errorlint // go-redis gives it as it is
		return nil
	}
	return err
}

func allows(t *testing.T, c *redis.Client, commands ...string) {
	t.Helper()
	for _, command := range commands {
		if err := do(t, c, command); err != nil {
			t.Errorf("%s: %v", command, err)
		}
	}
}

// refusals are the ways in which Redis says that something is forbidden.
var refusals = []string{"NOPERM", "ACL failure", "command not allowed", "not allowed from script"}

func forbids(t *testing.T, c *redis.Client, commands ...string) {
	t.Helper()
	for _, command := range commands {
		err := do(t, c, command)
		if err == nil || !slices.ContainsFunc(refusals, func(r string) bool { return strings.Contains(err.Error(), r) }) {
			t.Errorf("%s was not forbidden: %v", command, err)
		}
	}
}

// says looks after the unit and wants these words.
func (u *unit) says(what string, words ...string) {
	u.t.Helper()
	_, err := u.look()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			u.t.Errorf("%s: a look says %v", what, err)
		}
	}
}

func TestRedisReasonsOnDocker(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"8", "7"} {
		for how, made := range makers {
			t.Run(how+" "+version, func(t *testing.T) {
				testRedisReasons(t, made(t, "redis", version, "small", map[string]any{"maxclients": 10, "maxmemory": "8mb"}))
			})
		}
	}
}

func testRedisReasons(t *testing.T, u *unit) {
	u.well()
	c := u.client()
	forbids(t, c, "CONFIG SET requirepass x", "ACL SETUSER default >x", "ACL DELUSER berth", "ACL SETUSER berth nopass", "ACL LOAD", "ACL SAVE")
	allows(t, c, "SET mine 1", "INCR mine", "ACL WHOAMI")
	if err := do(t, c, "SCRIPT KILL"); err == nil || !strings.HasPrefix(err.Error(), "NOTBUSY") {
		t.Errorf("SCRIPT KILL: %v", err)
	}
	if err := do(t, c, "FUNCTION KILL"); err == nil || !strings.HasPrefix(err.Error(), "NOTBUSY") {
		t.Errorf("FUNCTION KILL: %v", err)
	}

	_ = c.Close()
	var conns []net.Conn
	for range 12 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", hostPort(u.inst))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte("PING\r\n"))
		_, _ = conn.Read(make([]byte, 256)) // the server has taken it, or refused it
		conns = append(conns, conn)
	}
	u.says("all clients are there", "all connections are taken (maxclients)")
	for _, conn := range conns {
		_ = conn.Close()
	}
	u.ready() // the server has noticed
	c = u.client()

	for size := 1 << 20; size > 0; size /= 4 {
		for i := 0; c.Set(t.Context(), strconv.Itoa(size)+"-"+strconv.Itoa(i), strings.Repeat("x", size), 0).Err() == nil; i++ {
		}
	}
	u.says("maxmemory is reached", "OOM command not allowed", "maxmemory")
	allows(t, c, "FLUSHALL")
	u.well()

	// A script that does not end. Before the time that it may take, the server is only slow.
	ended := make(chan error, 1)
	go func() {
		ended <- u.client().Do(context.WithoutCancel(t.Context()), "EVAL", "while true do end", 0).Err()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for tick := time.Tick(100 * time.Millisecond); ; {
		look, stop := context.WithTimeout(ctx, 5*time.Second)
		_, err := u.engine.(instance.Caretaker).Look(look, u.inst, u.cred)
		stop()
		if err != nil && strings.Contains(err.Error(), "a script or function has been running") {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the last look said %v", err)
		case <-tick:
		}
	}
	allows(t, u.client(), "SCRIPT KILL")
	if err := <-ended; err == nil {
		t.Error("the script has ended by itself")
	}
	u.ready() // a script ends a moment after it is told to
	u.well()
	if out, err := u.exec("grep", "-r", u.cred.AdminPassword.Reveal(), "/data"); err == nil {
		t.Errorf("what Berth's password follows from is in clear inside: %s", out)
	}
	u.stop()
	u.says("it is stopped", "nothing accepts connections")
}

// A server of an earlier version, which has no user of Berth's, is looked after by the
// tenant's.
func TestRedisOfAnEarlierVersionOnDocker(t *testing.T) {
	t.Parallel()
	u := deploy(t, "redis", "8", "small", nil)
	without := u.cred
	without.AdminPassword = secret.Secret{}
	if found, err := u.engine.(instance.Caretaker).Look(t.Context(), u.inst, without); err != nil || found.Notice != "" {
		t.Errorf("a look found %q, %v", found.Notice, err)
	}
	u.cred.AdminPassword = secret.New("another")
	u.well() // as one is whose files an earlier version has written
	u.cred.Password = secret.New("wrong")
	if _, err := u.look(); err == nil {
		t.Error("nobody gets in, and nothing is said")
	}
}

// A password that was changed by somebody who may is told, and no fault.
func TestRedisPasswordChangedOnDocker(t *testing.T) {
	t.Parallel()
	u := deploy(t, "redis", "8", "small", nil)
	u.cred.Password = secret.New("another")
	if found, err := u.look(); err != nil || found.Notice != instance.NoticePassword {
		t.Errorf("a look found %q, %v", found.Notice, err)
	}
}
