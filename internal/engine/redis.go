package engine

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/url"
	"time"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

const (
	redisName = "redis"
	redisUser = "default"
	// redisBerth is the user that Berth looks after the server by.
	redisBerth = "berth"
	redisPort  = 6379
	// redisTLSPort is for connections with TLS, where there are others.
	redisTLSPort = 6380
	redisHome    = "/data"
)

var (
	//go:embed redis/redis.conf.tmpl
	redisConfigText string
	//go:embed redis/users.acl.tmpl
	redisUsersText string
	// redisStart is what the container runs.
	//
	//go:embed redis/start.sh
	redisStart string

	redisConfig = parse("redis.conf", redisConfigText)
	redisUsers  = parse("users.acl", redisUsersText)
)

// redisRules narrow what a tenant may do: nothing that ends the server, changes its
// settings or accounts, writes or reads its files, binds it to another server or makes
// it connect elsewhere; but everything that only looks.
var redisRules = []string{
	"-@admin", "-migrate",
	"+config|get", "+config|help", "+config|resetstat",
	"+client|list", "+client|kill", "+client|unblock",
	"+slowlog|get", "+slowlog|len", "+slowlog|reset", "+slowlog|help",
	"+latency", "+monitor", "+role", "+lastsave",
}

// redisListIndexes is a rule for servers that have the command.
const redisListIndexes = "ft._list"

// redisModules are what the public image of version 8 brings.
var redisModules = []string{"bf", "search", "timeseries", "ReJSON"}

// redisEngine gives a tenant a Redis server of their own.
type redisEngine struct{ info instance.EngineInfo }

func newRedis(imageTemplate string) redisEngine {
	e := redisEngine{instance.EngineInfo{
		Name: redisName, Title: "Redis",
		Description: "A dedicated Redis server with persistent data.",
		Versions:    versions(redisName, imageTemplate, "8", "7"),
		Plans: []instance.Plan{
			{
				Name: "small", Description: "0.5 CPU, 128 MiB of memory, 1 GiB of disk",
				Resources: host.Resources{CPUMillis: 500, MemoryBytes: 128 * miB, DiskBytes: giB},
			},
			{
				Name: "medium", Description: "1 CPU, 512 MiB of memory, 4 GiB of disk",
				Resources: host.Resources{CPUMillis: 1000, MemoryBytes: 512 * miB, DiskBytes: 4 * giB},
			},
			{
				Name: "large", Description: "2 CPUs, 2 GiB of memory, 16 GiB of disk",
				Resources: host.Resources{CPUMillis: 2000, MemoryBytes: 2 * giB, DiskBytes: 16 * giB},
			},
		},
		Limits: instance.ResourceLimits{
			Min: host.Resources{CPUMillis: 100, MemoryBytes: 64 * miB, DiskBytes: 256 * miB},
			Max: host.Resources{CPUMillis: 16000, MemoryBytes: 128 * giB, DiskBytes: 1024 * giB},
		},
	}}
	e.info.Versions[0].Modules = redisModules
	e.info.Parameters = withDefaults(
		redisParameters(e.info.Limits.Max.MemoryBytes), e.Complete(nil, e.info.Plans[0].Resources))
	return e
}

// Describe gives what Redis offers.
func (e redisEngine) Describe() instance.EngineInfo { return e.info }

// Ports is two where there are connections with TLS and without: Redis has a port for each.
func (redisEngine) Ports(requireTLS bool) int {
	if requireTLS {
		return 1
	}
	return 2
}

// NewCredentials makes up the password of the default user, and what Berth's own follows
// from.
func (redisEngine) NewCredentials(_ instance.Instance, gen secret.Generator) instance.Credentials {
	return instance.Credentials{
		Username: redisUser, Password: gen.Password(passwordLength), AdminPassword: gen.Password(passwordLength),
	}
}

// Workload runs redis-server. The password is there as a hash only.
func (e redisEngine) Workload(inst instance.Instance, cred instance.Credentials) (host.Workload, error) {
	w, err := workload(e.info, inst)
	if err != nil {
		return host.Workload{}, err
	}
	if inst.Spec.RequireTLS && cred.Identity.Certificate == "" {
		return host.Workload{}, errNoCertificate(inst)
	}
	config, err := renderRedisConfig(inst)
	if err != nil {
		return host.Workload{}, err
	}
	users, err := renderRedisUsers(inst, cred)
	if err != nil {
		return host.Workload{}, err
	}
	w.Command = []string{"/bin/sh", "-c", redisStart}
	w.PidsLimit = 128 // modules have threads of their own
	w.Ports = []host.PortBinding{{Name: redisName, Container: redisPort}}
	w.DataPath = redisHome
	w.Files = []host.File{
		{Path: redisHome + "/conf/redis.conf", Mode: 0o440, Content: secret.New(config)},
		{Path: redisHome + "/conf/users.acl", Mode: 0o400, Content: secret.New(users)},
	}
	if inst.Status.TLSPort != 0 {
		w.Ports = append(w.Ports, host.PortBinding{Name: redisName + "-tls", Container: redisTLSPort})
	}
	if redisHasTLS(inst) {
		w.Files = append(w.Files, certificateFiles(redisHome+"/conf", cred.Identity.Certificate, cred.Identity.Key)...)
	}
	w.StopGrace = 30 * time.Second
	return w, nil
}

// redisHasTLS reports whether the server takes connections with TLS.
func redisHasTLS(inst instance.Instance) bool {
	return inst.Spec.RequireTLS || inst.Status.TLSPort != 0 && !inst.Status.CertifiedUntil.IsZero()
}

// Connection says how to connect.
func (redisEngine) Connection(inst instance.Instance, cred instance.Credentials) instance.Connection {
	uri := url.URL{
		Scheme: "redis", User: url.UserPassword(cred.Username, cred.Password.Reveal()),
		Host: hostPort(inst), Path: "/0",
	}
	secure := redisTLS(inst, cred, uri)
	cli := secret.New("redis-cli -u " + shellWord(uri.String()))
	if inst.Spec.RequireTLS {
		uri.Scheme = "rediss"
		if cli = secret.New("redis-cli --insecure -u " + shellWord(uri.String())); secure != nil {
			cli = secure.CLI
		}
	}
	// It was rendered from the same instance before it was started.
	config, _ := renderRedisConfig(inst)
	return instance.Connection{
		Host: inst.Status.Address, Port: inst.Status.Port, Username: cred.Username, Password: cred.Password,
		URI: secret.New(uri.String()),
		CLI: cli, Forms: redisForms(inst, cred, uri), TLS: secure,
		File: instance.ConfigFile{Name: "redis.conf", Content: config},
	}
}

// renderRedisUsers holds passwords as hashes only. Before it is somebody's, a server
// lets its one user do everything. Berth's own user may do nothing but what a look needs.
func renderRedisUsers(inst instance.Instance, cred instance.Credentials) (string, error) {
	if err := checkPlain("password", cred.Password.Reveal()); err != nil {
		return "", err
	}
	own, err := berthPassword(inst, cred)
	if err != nil {
		return "", err
	}
	data := map[string]any{"PasswordHash": redisHash(cred.Password), "Rules": rulesOf(inst, inst.Status.Disk.State == instance.DiskFull), "Berth": redisBerth, "BerthHash": "", "ProbeKeys": probeKey + "*"}
	if !warm(inst) && !own.Empty() {
		data["BerthHash"] = redisHash(own)
	}
	return render(redisUsers, data)
}

// redisHash gives a password as an access list has it.
func redisHash(password secret.Secret) string {
	sum := sha256.Sum256([]byte(password.Reveal()))
	return hex.EncodeToString(sum[:])
}

func renderRedisConfig(inst instance.Instance) (string, error) {
	p, port, tlsPort := inst.Spec.Parameters, redisPort, 0
	switch {
	case inst.Spec.RequireTLS:
		port, tlsPort = 0, redisPort
	case redisHasTLS(inst):
		tlsPort = redisTLSPort
	}
	return render(redisConfig, map[string]any{
		"MaxMemory": p.Int(paramMaxMemory), "Policy": p.String(paramPolicy),
		"MaxClients": p.Int(paramMaxClients), "AppendFsync": p.String(paramAppendFsync),
		"Port": port, "TLSPort": tlsPort, "Folder": redisHome + "/conf",
	})
}

// Golden gives none: an empty Redis is made in no time.
func (redisEngine) Golden(instance.Instance) (host.Golden, bool) {
	return host.Golden{}, false
}
