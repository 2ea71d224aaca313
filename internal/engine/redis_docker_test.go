package engine

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/provision"
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
		"CONFIG REWRITE", "SAVE", "BGSAVE", "BGREWRITEAOF", "SYNC", "PSYNC ? -1", "FAILOVER", "CLUSTER RESET", "CLIENT PAUSE 10",
		"MIGRATE 127.0.0.1 1 k 0 10", "PFDEBUG TODENSE k", "EVAL return(redis.call('config','set','maxmemory','0')) 0")

	redisHasModules(t, u, c)
	u.refusesWrongPassword()
	u.hidesSecrets()
	anonymous := u.cred
	anonymous.Username, anonymous.Password = "", provision.Secret{}
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
	version, _ := u.engine.Describe().Version(u.inst.Version)
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
