package config

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
)

const key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// production are the settings that an API process must have.
var production = []string{"BERTH_DATABASE_URL=mysql://u:p@h/d", "BERTH_REDIS_URL=redis://h:6379/0", "BERTH_MASTER_KEY=" + key, "BERTH_ADMIN_KEY=berth_0123456789abcdef"}

func TestDevDefaults(t *testing.T) {
	c, err := Load(Dev, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		HTTPAddr: "127.0.0.1:8080", DataDir: ".berth", DatabaseURL: "sqlite://.berth/berth.db", RedisURL: RedisEmbedded, DockerHost: "unix:///var/run/docker.sock",
		Golden: true, HostName: "local", AdvertiseHost: "127.0.0.1", BindHost: "127.0.0.1", PortRange: "20000-29999", PortLow: 20000, PortHigh: 29999, PortQuarantine: 2 * time.Minute,
		LeaseTTL: 10 * time.Second, ShutdownTimeout: 15 * time.Second, Retention: 24 * time.Hour, CallbackAllowPrivate: true, LogFormat: "text", LogLevel: "info",
		WorkerConcurrency: c.WorkerConcurrency, ReconcileEvery: 10 * time.Second, ReconcileGrace: time.Minute, ProbeEvery: 30 * time.Second,
		WarmMaxAge: 6 * time.Hour, EventRetention: 30 * 24 * time.Hour, AuditRetention: 365 * 24 * time.Hour, KeepFailed: time.Hour,
		MaxJobsPerTenant: job.DefaultMaxPerTenant, MaxJobs: job.DefaultMax,
		SignUp: "open", SessionIdle: tenant.DefaultSessionIdle, SessionMaxAge: tenant.DefaultSessionMaxAge,
		RateLimit: 6000, AddressRateLimit: 600,
	}
	if c.WorkerConcurrency < 4 {
		t.Errorf("WorkerConcurrency is %d", c.WorkerConcurrency)
	}
	if len(c.CORSOrigins) != 0 {
		t.Errorf("CORSOrigins are %q", c.CORSOrigins)
	}
	c.CORSOrigins, c.TrustedProxies = nil, nil
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	host := host.Host{Name: "local", Endpoint: "unix:///var/run/docker.sock", Advertise: "127.0.0.1", Bind: "127.0.0.1", PortLow: 20000, PortHigh: 29999}
	if got := c.Host(); !reflect.DeepEqual(got, host) {
		t.Errorf("the host is %+v, want %+v", got, host)
	}
}

func TestSettings(t *testing.T) {
	for _, test := range []struct {
		name string
		mode Mode
		set  string
		good func(Config) bool
	}{
		{"data folder", Dev, "BERTH_DATA_DIR=/var/lib/berth", func(c Config) bool { return c.DatabaseURL == "sqlite:///var/lib/berth/berth.db" }},
		{"database", Dev, "BERTH_DATABASE_URL=mysql://u:p@h/d", func(c Config) bool { return c.DatabaseURL == "mysql://u:p@h/d" }},
		{"redis", Dev, "BERTH_REDIS_URL=redis://h", func(c Config) bool { return c.RedisURL == "redis://h" }},
		{"private callbacks off", Dev, "BERTH_CALLBACK_ALLOW_PRIVATE=false", func(c Config) bool { return !c.CallbackAllowPrivate }},
		{"private callbacks are off", API, "", func(c Config) bool { return !c.CallbackAllowPrivate }},
		{"private callbacks on", API, "BERTH_CALLBACK_ALLOW_PRIVATE=true", func(c Config) bool { return c.CallbackAllowPrivate }},
		{"bind to where tenants are", Worker, "BERTH_ADVERTISE_HOST=db.example.com", func(c Config) bool { return c.BindHost == "0.0.0.0" }},
		{"bind to loopback", Worker, "BERTH_ADVERTISE_HOST=localhost", func(c Config) bool { return c.BindHost == "127.0.0.1" }},
		{"bind to loopback of IPv6", Worker, "BERTH_ADVERTISE_HOST=::1", func(c Config) bool { return c.BindHost == "127.0.0.1" }},
		{"bind as told", Worker, "BERTH_BIND_HOST=10.0.0.7", func(c Config) bool { return c.BindHost == "10.0.0.7" }},
		{"one port", Worker, "BERTH_PORT_RANGE=20000-20000", func(c Config) bool { return c.PortLow == 20000 && c.PortHigh == 20000 }},
		{"spaces in the range", Worker, "BERTH_PORT_RANGE= 1024 - 65535 ", func(c Config) bool { return c.PortLow == 1024 && c.PortHigh == 65535 }},
		{"log level", API, "BERTH_LOG_LEVEL=debug", func(c Config) bool { return c.Level == slog.LevelDebug }},
		{"origins", API, "BERTH_HTTP_CORS_ORIGINS=https://a,https://b", func(c Config) bool { return len(c.CORSOrigins) == 2 && c.CORSOrigins[1] == "https://b" }},
		{"authorities of receivers", Worker, "BERTH_CALLBACK_CA_FILE=/etc/ca.pem", func(c Config) bool { return c.CallbackCAFile == "/etc/ca.pem" }},
		{"sign-up is off", API, "", func(c Config) bool { return c.SignUp == "off" }},
		{"sign-up is off, in dev", Dev, "BERTH_SIGN_UP=off", func(c Config) bool { return c.SignUp == "off" }},
		{"sign-up by invitation", API, "BERTH_SIGN_UP=invitation", func(c Config) bool { return c.SignUp == "invitation" }},
		{"sessions", API, "BERTH_SESSION_IDLE=5m", func(c Config) bool { return c.SessionIdle == 5*time.Minute && c.SessionMaxAge == 720*time.Hour }},
		{"no proxy is trusted", API, "", func(c Config) bool { return len(c.Proxies) == 0 }},
		{"proxies", API, "BERTH_TRUSTED_PROXIES=10.1.2.3/8, 192.0.2.7 ,2001:db8::/32,::ffff:198.51.100.1", func(c Config) bool {
			return fmt.Sprint(c.Proxies) == "[10.0.0.0/8 192.0.2.7/32 2001:db8::/32 198.51.100.1/32]"
		}},
		{"no rate limit", API, "BERTH_RATE_LIMIT=0", func(c Config) bool { return c.RateLimit == 0 && c.AddressRateLimit == 600 }},
		{"gzip", API, "BERTH_HTTP_GZIP=true", func(c Config) bool { return c.Gzip }},
		{"a value with =", API, "BERTH_ADMIN_KEY=a=b=c0123456789012345", func(c Config) bool { return c.AdminKey == "a=b=c0123456789012345" }},
		{"concurrency", Worker, "BERTH_WORKER_CONCURRENCY=7", func(c Config) bool { return c.WorkerConcurrency == 7 }},
		{"empty is not set", Worker, "BERTH_HOST_NAME=", func(c Config) bool { return c.HostName == "local" }},
		{"empty is not set", Worker, "BERTH_PORT_RANGE=", func(c Config) bool { return c.PortLow == 20000 }},
		{"empty is not set", Worker, "BERTH_LEASE_TTL=", func(c Config) bool { return c.LeaseTTL == 10*time.Second }},
		{"somebody else's variable", Worker, "LEASE_TTL=nonsense", func(c Config) bool { return c.LeaseTTL == 10*time.Second }},
	} {
		environ := append([]string{}, production...)
		if test.mode == Dev {
			environ = nil
		}
		c, err := Load(test.mode, append(environ, test.set))
		if err != nil || !test.good(c) {
			t.Errorf("%s: %v: %+v", test.name, err, c)
		}
	}
	if _, err := Load(Migrate, production[:1]); err != nil {
		t.Errorf("a migration needs more than its database: %v", err)
	}
	if _, err := Load(Worker, production[:3]); err != nil {
		t.Errorf("a worker needs an admin key: %v", err)
	}
}

// TestBadSettings names the variable and what is allowed.
func TestBadSettings(t *testing.T) {
	for _, test := range []struct {
		mode      Mode
		set, want string
	}{
		{API, "BERTH_DATABASE_URL=", "mysql://USER:PASSWORD@HOST:PORT/DATABASE"},
		{Migrate, "BERTH_DATABASE_URL=", "must be set"},
		{API, "BERTH_REDIS_URL=", "redis://"},
		{Worker, "BERTH_REDIS_URL=embedded", "redis://"},
		{Worker, "BERTH_MASTER_KEY=", "openssl rand"},
		{API, "BERTH_ADMIN_KEY=", "at least 20 characters"},
		{API, "BERTH_HTTP_ADDR=8080", "HOST:PORT"},
		{Worker, "BERTH_ADVERTISE_HOST=http://db.example", "without scheme"},
		{Worker, "BERTH_BIND_HOST=localhost", "IP address"},
		{Worker, "BERTH_PORT_RANGE=20000", "LOW-HIGH"},
		{Worker, "BERTH_PORT_RANGE=30000-20000", "LOW-HIGH"},
		{Worker, "BERTH_PORT_RANGE=80-90", "from 1024"},
		{Worker, "BERTH_PORT_RANGE=60000-70000", "65535"},
		{Worker, "BERTH_PORT_RANGE=a-b", "LOW-HIGH"},
		{Worker, "BERTH_PORT_QUARANTINE=-1s", "at least 1s"},
		{Worker, "BERTH_PORT_QUARANTINE=120", "duration"},
		{Worker, "BERTH_WORKER_CONCURRENCY=-1", "from 1 to 256"},
		{Worker, "BERTH_WORKER_CONCURRENCY=257", "from 1 to 256"},
		{Worker, "BERTH_WORKER_CONCURRENCY=many", "number"},
		{Worker, "BERTH_LEASE_TTL=500ms", "from 1s to 1m"},
		{Worker, "BERTH_LEASE_TTL=2m", "from 1s to 1m"},
		{Worker, "BERTH_LEASE_TTL=soon", "duration"},
		{Worker, "BERTH_SHUTDOWN_TIMEOUT=-1s", "negative"},
		{Worker, "BERTH_RETENTION=1s", "at least 1m"},
		{Worker, "BERTH_EVENT_RETENTION=1s", "at least 1m"},
		{Worker, "BERTH_KEEP_FAILED=1s", "from 1m"},
		{Worker, "BERTH_KEEP_FAILED=10000h", "720h"},
		{API, "BERTH_MAX_JOBS=0", "at least 1"},
		{API, "BERTH_MAX_JOBS_PER_TENANT=-1", "at least 1"},
		{API, "BERTH_CALLBACK_ALLOW_PRIVATE=perhaps", "true or false"},
		{API, "BERTH_HTTP_GZIP=2", "true or false"},
		{API, "BERTH_SIGN_UP=everybody", "off, invitation or open"},
		{API, "BERTH_SESSION_IDLE=1m", "at least 5m"},
		{API, "BERTH_SESSION_MAX_AGE=1h", "to 8784h"},
		{API, "BERTH_SESSION_MAX_AGE=9000h", "to 8784h"},
		{API, "BERTH_TRUSTED_PROXIES=10.0.0.0/8,proxy.example", "proxy.example"},
		{API, "BERTH_TRUSTED_PROXIES=10.0.0.0/33", "neither an address nor a network"},
		{API, "BERTH_RATE_LIMIT=-1", "from 0 (no limit)"},
		{API, "BERTH_RATE_LIMIT=plenty", "number"},
		{API, "BERTH_RATE_LIMIT_ADDRESS=1000001", "to 1000000"},
		{API, "BERTH_LOG_FORMAT=xml", "text or json"},
		{API, "BERTH_LOG_LEVEL=loud", "debug, info, warn or error"},
	} {
		_, err := Load(test.mode, append(append([]string{}, production...), test.set))
		variable, _, _ := strings.Cut(test.set, "=")
		switch {
		case err == nil:
			t.Errorf("%s was taken", test.set)
		case !strings.Contains(err.Error(), variable+": ") || !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: got %q, want the variable and %q", test.set, err, test.want)
		case strings.Count(err.Error(), "BERTH_") != 1:
			t.Errorf("%s: other variables are named, too: %q", test.set, err)
		case strings.Contains(err.Error(), key):
			t.Errorf("%s: a secret is shown: %q", test.set, err)
		}
	}
}

// TestAllThatIsWrong is told at once.
func TestAllThatIsWrong(t *testing.T) {
	for _, environ := range [][]string{
		{"BERTH_HTTP_ADDR=x", "BERTH_LOG_LEVEL=x", "BERTH_PORT_RANGE=x"},
		{"BERTH_LEASE_TTL=x", "BERTH_HTTP_GZIP=x", "BERTH_WORKER_CONCURRENCY=x"},
	} {
		_, err := Load(API, append(append([]string{}, production...), environ...))
		for _, set := range environ {
			if variable, _, _ := strings.Cut(set, "="); err == nil || !strings.Contains(err.Error(), variable) {
				t.Errorf("%v: %s is not named", err, variable)
			}
		}
	}
	_, err := Load(API, nil)
	for _, set := range production {
		if variable, _, _ := strings.Cut(set, "="); err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%v: %s is not named", err, variable)
		}
	}
}

// documentation is where the settings are described.
const documentation = "../../docs/configuration.md"

// Every setting has a row in the documentation, with its default; and every row is of a
// setting that exists.
func TestDocumentationHasEverySetting(t *testing.T) {
	text, err := os.ReadFile(documentation)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(text)) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		for word := range strings.SplitSeq(cell, "`") {
			if strings.HasPrefix(line, "| `") && strings.HasPrefix(word, "BERTH_") {
				rows[word] = line
			}
		}
	}
	for field := range reflect.TypeFor[Config]().Fields() {
		name := "BERTH_" + field.Tag.Get("env")
		if name == "BERTH_-" {
			continue
		}
		if fallback := field.Tag.Get("envDefault"); rows[name] == "" || !strings.Contains(rows[name], fallback) {
			t.Errorf("%s has no row for %s that names its default %q", documentation, name, fallback)
		}
		delete(rows, name)
	}
	for _, name := range []string{"BERTH_URL", "BERTH_API_KEY", "BERTH_TENANT", "BERTH_CONTEXT", "BERTH_CONFIG", "BERTH_CA_FILE"} { // of the client verbs
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("%s has a row for %s, which is no setting", documentation, name)
	}
}

// A setting that is documented does something in the production shape, too.
func TestComposePassesEverySetting(t *testing.T) {
	compose, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	for field := range reflect.TypeFor[Config]().Fields() {
		name := "BERTH_" + field.Tag.Get("env")
		if name == "BERTH_-" || name == "BERTH_DATA_DIR" || name == "BERTH_SIMULATED_HOSTS" { // derived; dev's only; nothing for production
			continue
		}
		if !strings.Contains(string(compose), name+":") {
			t.Errorf("docker-compose.yml does not pass %s", name)
		}
	}
}

// Hosts that do not exist are had by asking for them twice.
func TestSimulatedHosts(t *testing.T) {
	key := "BERTH_MASTER_KEY=" + strings.Repeat("k", 44)
	for _, test := range []struct {
		host, count string
		good        bool
	}{
		{"", "", true}, {"simulated:///tmp/x", "", false}, {"", "10", false}, {"unix:///x.sock", "10", false},
		{"simulated:///tmp/x", "10", true}, {"simulated:///tmp/x", "100000", false},
	} {
		c, err := Load(Dev, []string{key, "BERTH_DOCKER_HOST=" + test.host, "BERTH_SIMULATED_HOSTS=" + test.count})
		if (err == nil) != test.good || (err != nil && !strings.Contains(err.Error(), "BERTH_SIMULATED_HOSTS")) {
			t.Errorf("%+v: %d hosts, %v", test, c.SimulatedHosts, err)
		}
	}
}

func TestWarmPool(t *testing.T) {
	got, err := parseWarm("redis:small=4, mysql@9.7:large=2,")
	want := []instance.Warm{
		{Kind: instance.Kind{Engine: "redis", Plan: "small"}, Count: 4},
		{Kind: instance.Kind{Engine: "mysql", Version: "9.7", Plan: "large"}, Count: 2},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"redis", "redis=4", "redis:small", "redis:small=-1", "redis:small=1000", "redis:small=4;mysql:small=2", ":small=1"} {
		if _, err := parseWarm(text); err == nil || !strings.Contains(err.Error(), "redis:small=4") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestDefaultQuota(t *testing.T) {
	got, err := parseQuota("instances=20, cpu=1.5,memory=64gb,disk=-1,jobs_per_hour=0,")
	want := tenant.Amounts{tenant.Instances: 20, tenant.CPU: 1500, tenant.Memory: 64 << 30, tenant.Disk: tenant.Unlimited, tenant.JobsPerHour: 0}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for text, says := range map[string]string{
		"instances": "instances=20", "cars=1": "unknown; there are: instances", "instances=many": "instances=20", "cpu=-2": "cpu=1.5", "cpu=NaN": "cpu=1.5",
		"instances=-2": "must be from 0", "memory=64tb": "memory=64gb", "instances=1,instances=2": "twice", "disk=99999999gb": "must be from 0",
	} {
		if _, err := parseQuota(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
