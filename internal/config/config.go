// Package config turns the environment into one validated struct. It owns the
// names, defaults and bounds of the settings; it opens nothing and connects to
// nothing.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/tenant"
)

// RedisEmbedded as BERTH_REDIS_URL runs a Redis inside the process (dev only).
const RedisEmbedded = "embedded"

// Config is every setting. The comments are the documentation of each.
type Config struct {
	// HTTPAddr is where the API listens.
	HTTPAddr string `env:"HTTP_ADDR" envDefault:"127.0.0.1:8080"`
	// DataDir holds what `berth dev` keeps: the database, the master key, the admin key.
	DataDir string `env:"DATA_DIR" envDefault:".berth"`
	// DatabaseURL is sqlite://FILE or mysql://USER:PASSWORD@HOST:PORT/DATABASE.
	DatabaseURL string `env:"DATABASE_URL"`
	// RedisURL is redis://[:PASSWORD@]HOST:PORT/DB, rediss:// with TLS, or "embedded".
	RedisURL string `env:"REDIS_URL"`
	// DockerHost is the engine that workers drive: unix:///PATH or tcp://HOST:PORT.
	DockerHost string `env:"DOCKER_HOST"`
	// AcceptEngine is the id of a Docker engine that may take the place of the one that a
	// host is known by.
	AcceptEngine string `env:"ACCEPT_ENGINE"`
	// SimulatedHosts is how many hosts that do not exist a worker registers, whose common
	// folder is DockerHost, as in "simulated:///tmp/hosts?latency=20ms". Nothing on them
	// is real: for measurements only.
	SimulatedHosts int `env:"SIMULATED_HOSTS"`
	// HostName names that engine's host; several workers of one host give the same.
	HostName string `env:"HOST_NAME" envDefault:"local"`
	// AdvertiseHost is the address that tenants reach instances at.
	AdvertiseHost string `env:"ADVERTISE_HOST" envDefault:"127.0.0.1"`
	// BindHost is the host's address that instances' ports are published on. Empty:
	// loopback if tenants are to use loopback, else every address.
	BindHost string `env:"BIND_HOST"`
	// PortRange is what instances' ports are taken from, "LOW-HIGH", inclusive.
	PortRange string `env:"PORT_RANGE" envDefault:"20000-29999"`
	// PortQuarantine is how long a freed port rests before somebody else gets it.
	PortQuarantine time.Duration `env:"PORT_QUARANTINE" envDefault:"2m"`
	// MasterKey encrypts credentials: base64 of 32 bytes, or the path of a file with
	// one key a line. The first is the one that `berth keys rotate` begins to use.
	MasterKey string `env:"MASTER_KEY"`
	// LostKeys are the ids of master keys that are lost for good: Berth starts without
	// them, and what they have sealed stays closed.
	LostKeys []string `env:"ACCEPT_LOST_KEY" envSeparator:","`
	// AdminKey is the operator's API key, or the path of a file that holds it.
	AdminKey string `env:"ADMIN_KEY"`
	// ImageMySQL and ImageRedis replace the engines' images; {version} stands for the
	// version, as in "registry.example/mysql:{version}".
	ImageMySQL string `env:"IMAGE_MYSQL"`
	ImageRedis string `env:"IMAGE_REDIS"`
	// Golden has what the first start of every MySQL would make alike made once per host.
	Golden bool `env:"GOLDEN" envDefault:"true"`
	// WorkerConcurrency is how many creates one worker process does at once.
	WorkerConcurrency int `env:"WORKER_CONCURRENCY"`
	// LeaseTTL is after how long without a sign of life a worker loses its jobs.
	LeaseTTL time.Duration `env:"LEASE_TTL" envDefault:"10s"`
	// ShutdownTimeout is how long a stopping process may finish what it has begun,
	// before it hands it back.
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"15s"`
	// DrainDelay is how long an API that was told to stop goes on taking requests while
	// /readyz says 503, so that a load balancer can turn away from it first.
	DrainDelay time.Duration `env:"DRAIN_DELAY" envDefault:"3s"`
	// Retention is how long deleted instances, ended jobs and stored answers stay
	// readable.
	Retention time.Duration `env:"RETENTION" envDefault:"24h"`
	// ReconcileEvery is how often hosts are compared with what is written.
	ReconcileEvery time.Duration `env:"RECONCILE_EVERY" envDefault:"10s"`
	// ReconcileGrace is how old something must be that nobody seems to own, before it
	// is removed.
	ReconcileGrace time.Duration `env:"RECONCILE_GRACE" envDefault:"1m"`
	// ReconcileDryRun only says what would be mended.
	ReconcileDryRun bool `env:"RECONCILE_DRY_RUN"`
	// ProbeEvery is how often a running instance is probed.
	ProbeEvery time.Duration `env:"PROBE_EVERY" envDefault:"30s"`
	// EventRetention is how long events can be read.
	EventRetention time.Duration `env:"EVENT_RETENTION" envDefault:"720h"`
	// AuditRetention is how long entries of the audit log can be read; zero: for ever.
	AuditRetention time.Duration `env:"AUDIT_RETENTION" envDefault:"8760h"`
	// KeepFailed is how long a failed create that asked to be kept for inspection is.
	KeepFailed time.Duration `env:"KEEP_FAILED" envDefault:"1h"`
	// MaxJobsPerTenant and MaxJobs bound the accepted jobs that have not ended; creates
	// beyond are refused.
	MaxJobsPerTenant int `env:"MAX_JOBS_PER_TENANT" envDefault:"1000"`
	MaxJobs          int `env:"MAX_JOBS" envDefault:"10000"`
	// DefaultQuota limits what tenants may have for which operators have set nothing else, as in
	// "instances=20,cpu=16,memory=64gb,disk=500gb,ports=20,jobs_per_hour=200"; what is left
	// out is not limited.
	DefaultQuota string `env:"DEFAULT_QUOTA"`
	// WarmPool is how many started instances each host keeps ready, by engine and plan:
	// "redis:small=4,mysql:small=2"; a version other than the default goes before the plan,
	// as in "redis@7:small=1".
	WarmPool string `env:"WARM_POOL"`
	// WarmMaxAge is how old one of these may get before it is replaced.
	WarmMaxAge time.Duration `env:"WARM_MAX_AGE" envDefault:"6h"`
	// CallbackAllowPrivate lets callbacks go to loopback and private addresses.
	CallbackAllowPrivate bool `env:"CALLBACK_ALLOW_PRIVATE"`
	// PlainTCP allows hosts of the pool whose engines are reached by TCP without TLS. It is for
	// tests: whoever reaches such an engine is root on its machine.
	PlainTCP bool `env:"HOST_PLAIN_TCP"`
	// CallbackCAFile has the certificates, in PEM, of authorities that callbacks' receivers
	// are trusted by, beside the system's.
	CallbackCAFile string `env:"CALLBACK_CA_FILE"`
	// SignUp says who may make an account: off (operators only), invitation or open.
	SignUp string `env:"SIGN_UP" envDefault:"off"`
	// SessionIdle is after how long without use a user's session ends, SessionMaxAge when it
	// ends in any case.
	SessionIdle   time.Duration `env:"SESSION_IDLE" envDefault:"24h"`
	SessionMaxAge time.Duration `env:"SESSION_MAX_AGE" envDefault:"720h"`
	// TLSCert and TLSKey are files in PEM; with them the API is served by TLS. Both or none.
	TLSCert string `env:"TLS_CERT"`
	TLSKey  string `env:"TLS_KEY"`
	// TrustedProxies are the networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are
	// believed.
	TrustedProxies []string `env:"TRUSTED_PROXIES" envSeparator:","`
	// RateLimit is how many requests a minute of one key or user are answered, and
	// AddressRateLimit how many of one address without a valid key; 0: any number.
	RateLimit        int `env:"RATE_LIMIT" envDefault:"6000"`
	AddressRateLimit int `env:"RATE_LIMIT_ADDRESS" envDefault:"600"`
	// Gzip compresses answers.
	Gzip bool `env:"HTTP_GZIP"`
	// CORSOrigins are the origins whose pages may call the API; none: no CORS headers.
	CORSOrigins []string `env:"HTTP_CORS_ORIGINS" envSeparator:","`
	// LogFormat is text or json.
	LogFormat string `env:"LOG_FORMAT" envDefault:"text"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `env:"LOG_LEVEL" envDefault:"info"`

	PortLow  int        `env:"-"` // from PortRange
	PortHigh int        `env:"-"`
	Level    slog.Level `env:"-"` // from LogLevel
	// Warm is from WarmPool; versions and plans may be empty.
	Warm []instance.Warm `env:"-"`
	// Quota is from DefaultQuota.
	Quota tenant.Amounts `env:"-"`
	// Proxies is from TrustedProxies.
	Proxies []netip.Prefix `env:"-"`
}

// Mode is what a process is going to be; it decides on defaults and on what must
// be set.
type Mode int

// The modes.
const (
	Dev     Mode = iota // everything in one process
	API                 // serves HTTP
	Worker              // runs jobs
	Migrate             // brings the schema up to date
	Keys                // rotates the master key
)

// Load reads the environment, given as "NAME=value" lines like os.Environ gives.
// The error names every setting that is wrong, and what it may be.
func Load(mode Mode, environ []string) (Config, error) {
	c, err := env.ParseAsWithOptions[Config](env.Options{Prefix: "BERTH_", Environment: env.ToMap(environ)})
	if err != nil {
		return Config{}, fmt.Errorf("settings: %w", byVariable(err))
	}
	if mode == Dev || mode == Keys && c.DatabaseURL == "" {
		c.devDefaults(environ)
	}
	if c.DockerHost == "" {
		c.DockerHost = "unix:///var/run/docker.sock"
	}
	if c.WorkerConcurrency == 0 {
		c.WorkerConcurrency = max(4, 2*runtime.NumCPU())
	}
	if c.BindHost == "" {
		c.BindHost = "0.0.0.0"
		if a, err := netip.ParseAddr(c.AdvertiseHost); (err == nil && a.IsLoopback()) || c.AdvertiseHost == "localhost" {
			c.BindHost = "127.0.0.1"
		}
	}
	return c, c.validate(mode)
}

// byVariable names the variables of what could not be parsed, where the library
// names the fields of the struct.
func byVariable(err error) error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return err
	}
	named := make([]error, len(all.Errors))
	for i, err := range all.Errors {
		named[i] = err
		var p env.ParseError
		if !errors.As(err, &p) {
			continue
		}
		if field, ok := reflect.TypeFor[Config]().FieldByName(p.Name); ok {
			named[i] = fmt.Errorf("BERTH_%s: must be %s: %w", field.Tag.Get("env"), kinds[field.Type], p.Err)
		}
	}
	return errors.Join(named...)
}

// kinds says what is wanted of the fields that are not text.
var kinds = map[reflect.Type]string{
	reflect.TypeFor[int](): "a number", reflect.TypeFor[bool](): "true or false", reflect.TypeFor[time.Duration](): `a duration such as "90s" or "24h"`,
}

func (c *Config) devDefaults(environ []string) {
	if c.DatabaseURL == "" {
		c.DatabaseURL = "sqlite://" + filepath.Join(c.DataDir, "berth.db")
	}
	if c.RedisURL == "" {
		c.RedisURL = RedisEmbedded
	}
	if _, set := env.ToMap(environ)["BERTH_CALLBACK_ALLOW_PRIVATE"]; !set {
		c.CallbackAllowPrivate = true // a developer's receiver is on this machine
	}
	if env.ToMap(environ)["BERTH_SIGN_UP"] == "" {
		c.SignUp = string(tenant.SignUpOpen) // it listens on loopback
	}
	if _, set := env.ToMap(environ)["BERTH_DRAIN_DELAY"]; !set {
		c.DrainDelay = 0 // nobody stands before it
	}
}

func (c *Config) validate(mode Mode) error {
	var wrong []error
	check := func(ok bool, name, want string) {
		if !ok {
			wrong = append(wrong, fmt.Errorf("BERTH_%s: %s", name, want))
		}
	}
	check(c.DatabaseURL != "", "DATABASE_URL", "must be set: mysql://USER:PASSWORD@HOST:PORT/DATABASE or sqlite://FILE")
	if mode == API || mode == Worker {
		check(c.RedisURL != "" && c.RedisURL != RedisEmbedded, "REDIS_URL", "must be set: redis://[:PASSWORD@]HOST:PORT/DB (only `berth dev` has an embedded one)")
		check(c.MasterKey != "", "MASTER_KEY", "must be set: the output of `openssl rand -base64 32`, or a file that holds it")
	}
	if mode == API {
		check(c.AdminKey != "", "ADMIN_KEY", "must be set: the operator's API key, at least 20 characters, or a file that holds it")
	}
	check(c.SimulatedHosts >= 0 && c.SimulatedHosts <= maxSimulatedHosts, "SIMULATED_HOSTS", fmt.Sprintf("must be from 0 to %d", maxSimulatedHosts))
	check(strings.HasPrefix(c.DockerHost, "simulated://") == (c.SimulatedHosts > 0), "SIMULATED_HOSTS", "must be set together with BERTH_DOCKER_HOST=simulated:///FOLDER; instances on simulated hosts are not real")
	_, _, err := net.SplitHostPort(c.HTTPAddr)
	check(err == nil, "HTTP_ADDR", "must be HOST:PORT")
	c.checkEdge(check)
	check(!strings.ContainsAny(c.AdvertiseHost, "/ \t"), "ADVERTISE_HOST", "must be a host name or an IP address, without scheme or path")
	check(c.parsePorts(), "PORT_RANGE", "must be LOW-HIGH, from 1024 to 65535, with LOW not above HIGH")
	check(c.WorkerConcurrency >= 1 && c.WorkerConcurrency <= 256, "WORKER_CONCURRENCY", "must be from 1 to 256")
	check(c.LeaseTTL >= time.Second && c.LeaseTTL <= time.Minute, "LEASE_TTL", "must be from 1s to 1m")
	check(c.ShutdownTimeout >= 0, "SHUTDOWN_TIMEOUT", "must not be negative")
	check(c.WarmMaxAge > 0, "WARM_MAX_AGE", "must be positive")
	warm, err := parseWarm(c.WarmPool)
	if c.Warm = warm; err != nil {
		check(false, "WARM_POOL", err.Error())
	}
	if c.Quota, err = parseQuota(c.DefaultQuota); err != nil {
		check(false, "DEFAULT_QUOTA", err.Error())
	}
	check(c.DrainDelay >= 0, "DRAIN_DELAY", "must not be negative")
	check(c.PortQuarantine >= time.Second, "PORT_QUARANTINE", "must be at least 1s")
	check(c.ReconcileEvery >= time.Second && c.ReconcileEvery <= time.Hour, "RECONCILE_EVERY", "must be from 1s to 1h")
	check(c.ReconcileGrace >= 0, "RECONCILE_GRACE", "must not be negative")
	check(c.ProbeEvery >= time.Second && c.ProbeEvery <= time.Hour, "PROBE_EVERY", "must be from 1s to 1h")
	check(c.Retention >= time.Minute, "RETENTION", "must be at least 1m")
	check(c.EventRetention >= time.Minute, "EVENT_RETENTION", "must be at least 1m")
	check(c.AuditRetention == 0 || c.AuditRetention >= 24*time.Hour, "AUDIT_RETENTION", "must be at least 24h, or 0 to keep the log for ever")
	check(c.KeepFailed >= time.Minute && c.KeepFailed <= 30*24*time.Hour, "KEEP_FAILED", "must be from 1m to 720h")
	check(c.MaxJobsPerTenant >= 1, "MAX_JOBS_PER_TENANT", "must be at least 1")
	check(c.MaxJobs >= 1, "MAX_JOBS", "must be at least 1")
	check(slices.Contains(tenant.SignUps(), tenant.SignUp(c.SignUp)), "SIGN_UP", "must be off, invitation or open")
	check(c.SessionIdle >= 5*time.Minute, "SESSION_IDLE", "must be at least 5m")
	check(c.SessionMaxAge >= c.SessionIdle && c.SessionMaxAge <= 366*24*time.Hour, "SESSION_MAX_AGE", "must be from the idle limit to 8784h")
	check(c.LogFormat == "text" || c.LogFormat == "json", "LOG_FORMAT", "must be text or json")
	check(c.Level.UnmarshalText([]byte(c.LogLevel)) == nil, "LOG_LEVEL", "must be debug, info, warn or error")
	bind, err := netip.ParseAddr(c.BindHost)
	check(err == nil && bind.IsValid(), "BIND_HOST", "must be an IP address of the host")
	if len(wrong) > 0 {
		return fmt.Errorf("settings: %w", errors.Join(wrong...))
	}
	return nil
}

func (c *Config) parsePorts() bool {
	low, high, ok := strings.Cut(c.PortRange, "-")
	var err1, err2 error
	c.PortLow, err1 = strconv.Atoi(strings.TrimSpace(low))
	c.PortHigh, err2 = strconv.Atoi(strings.TrimSpace(high))
	return ok && err1 == nil && err2 == nil && c.PortLow >= 1024 && c.PortHigh <= 65535 && c.PortLow <= c.PortHigh
}

// maxSimulatedHosts bounds how many rows a worker writes when it starts.
const maxSimulatedHosts = 10_000

// Host gives the host that this process's worker serves, without its id.
func (c *Config) Host() host.Host {
	return host.Host{
		Name: c.HostName, Endpoint: c.DockerHost, Advertise: c.AdvertiseHost, Bind: c.BindHost, PortLow: c.PortLow, PortHigh: c.PortHigh,
	}
}
