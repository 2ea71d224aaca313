package engine

import (
	_ "embed"
	"net/url"
	"time"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

const (
	mysqlName  = "mysql"
	mysqlPort  = 3306
	mysqlHome  = "/var/lib/mysql"
	mysqlStart = mysqlHome + "/conf/start.sh"
	// mysqlBerth is the user that Berth looks after the server by, and the database that it
	// has for that. No tenant's can be named so: it has a dot.
	mysqlBerth = "berth.health"
	// mysqlGolden is where start.sh looks for a data directory to start from.
	mysqlGolden = "/berth"
)

// mysqlBig is the memory from which on the server can afford performance_schema, and
// native asynchronous I/O, of which a host has only so much (fs.aio-max-nr).
const mysqlBig = giB

// mysqlVast is the memory from which on performance_schema has its default sizes. They take
// 230 MiB, too much of a smaller server; with the smaller ones it takes 95 MiB.
const mysqlVast = 4 * giB

var (
	//go:embed mysql/my.cnf.tmpl
	mysqlConfigText string
	//go:embed mysql/init.sql.tmpl
	mysqlInitText string
	//go:embed mysql/initialize.sh
	mysqlInitializeScript string
	//go:embed mysql/golden.sh
	mysqlGoldenScript string
	// mysqlTimeZones fills the tables of named time zones. mysqld comes without them, and not
	// every image has what mysql_tzinfo_to_sql would make them from. A statement ends its
	// line, and is within what an init file may have. (time_zones_test.go makes it.)
	//go:embed mysql/time_zones.sql
	mysqlTimeZones string
	// mysqlOwn makes the database that Berth looks after a server by.
	//go:embed mysql/own.sql
	mysqlOwn string
	//go:embed mysql/start.sh
	mysqlStartScript string

	mysqlConfig = parse("my.cnf", mysqlConfigText)
	mysqlInit   = parse("init.sql", mysqlInitText)
)

// mysqlEngine gives a tenant a MySQL server with one database, and a user with all
// rights on that database and none elsewhere.
type mysqlEngine struct {
	info     instance.EngineInfo
	noGolden bool
	keys     *rsaPairs
}

func newMySQL(imageTemplate string, noGolden bool) mysqlEngine {
	e := mysqlEngine{noGolden: noGolden, keys: &rsaPairs{}, info: instance.EngineInfo{
		Name: mysqlName, Title: "MySQL",
		Description: "A dedicated MySQL server with one database.",
		Versions:    versions(mysqlName, imageTemplate, "9.7"),
		Plans: []instance.Plan{
			{
				Name: "small", Description: "1 CPU, 512 MiB of memory, 10 GiB of disk",
				Resources: host.Resources{CPUMillis: 1000, MemoryBytes: 512 * miB, DiskBytes: 10 * giB},
			},
			{
				Name: "medium", Description: "2 CPUs, 1 GiB of memory, 20 GiB of disk",
				Resources: host.Resources{CPUMillis: 2000, MemoryBytes: giB, DiskBytes: 20 * giB},
			},
			{
				Name: "large", Description: "4 CPUs, 4 GiB of memory, 50 GiB of disk",
				Resources: host.Resources{CPUMillis: 4000, MemoryBytes: 4 * giB, DiskBytes: 50 * giB},
			},
		},
		Limits: instance.ResourceLimits{
			Min: host.Resources{CPUMillis: 250, MemoryBytes: 384 * miB, DiskBytes: giB},
			Max: host.Resources{CPUMillis: 32000, MemoryBytes: 128 * giB, DiskBytes: 4096 * giB},
		},
		Parameters: mysqlParameters(),
	}}
	e.info.Parameters = withDefaults(e.info.Parameters, e.Complete(nil, e.info.Plans[0].Resources))
	return e
}

// Describe gives what MySQL offers.
func (e mysqlEngine) Describe() instance.EngineInfo { return e.info }

// Ports is one: MySQL speaks with and without TLS on the same.
func (mysqlEngine) Ports(bool) int { return 1 }

// NewCredentials names the user and the database as was asked for, or after the instance.
func (mysqlEngine) NewCredentials(inst instance.Instance, gen secret.Generator) instance.Credentials {
	user, database := identifier(inst.Name), identifier(inst.Name)
	if warm(inst) {
		user, database = warmName, warmName
	}
	if chosen := inst.Spec.Parameters.String(paramUsername); chosen != "" {
		user = chosen
	}
	if chosen := inst.Spec.Parameters.String(paramDatabase); chosen != "" {
		database = chosen
	}
	return instance.Credentials{
		Username: user, Password: gen.Password(passwordLength), Database: database,
		AdminPassword: gen.Password(passwordLength),
	}
}

// Workload runs mysqld by a script that first makes the data directory. What accounts
// and rights there are is said anew at every start, before the server answers anybody.
func (e mysqlEngine) Workload(inst instance.Instance, cred instance.Credentials) (host.Workload, error) {
	w, err := workload(e.info, inst)
	if err != nil {
		return host.Workload{}, err
	}
	config, err := renderMySQLConfig(inst)
	if err != nil {
		return host.Workload{}, err
	}
	accounts, err := renderMySQLInit(inst, cred)
	if err != nil {
		return host.Workload{}, err
	}
	certificate, key, err := mysqlCertificate(inst, cred)
	if err != nil {
		return host.Workload{}, err
	}
	w.Command = []string{"/bin/sh", mysqlStart}
	w.PidsLimit = inst.Spec.Parameters.Int(paramMaxConnections) + 128 // a thread for each connection, and the server's own
	w.Ports = []host.PortBinding{{Name: mysqlName, Container: mysqlPort}}
	w.DataPath = mysqlHome
	w.Scratch = map[string]int64{"/tmp": 16 * miB} // the socket
	w.Files = []host.File{
		{Path: mysqlHome + "/conf/my.cnf", Mode: 0o440, Content: secret.New(config)},
		{Path: mysqlHome + "/conf/init.sql", Mode: 0o400, Content: secret.New(accounts)},
		{Path: mysqlHome + "/conf/initialize.sh", Mode: 0o440, Content: secret.New(mysqlInitializeScript)},
		{Path: mysqlStart, Mode: 0o440, Content: secret.New(mysqlStartScript)},
	}
	w.FileBytes = inst.Spec.Resources.DiskBytes + inst.Spec.Resources.DiskSlack()
	w.Files = append(w.Files, certificateFiles(mysqlHome+"/conf", certificate, key)...)
	if cred.Identity.CA != "" { // without it, the server does not take another certificate while it runs
		w.Files = append(w.Files, host.File{Path: mysqlHome + "/conf/ca.pem", Mode: 0o440, Content: secret.New(cred.Identity.CA)})
	}
	w.StopGrace = time.Minute
	return w, nil
}

// Golden is an empty data directory. No parameter and no size of an instance has a part
// in how it is made, so there is one for each image.
func (e mysqlEngine) Golden(inst instance.Instance) (host.Golden, bool) {
	const script = mysqlGolden + "/golden.sh"
	return host.Golden{
		Name: e.info.Title + " " + inst.Spec.Version, User: serverUser, Path: mysqlGolden,
		Command: []string{"/bin/sh", script, mysqlGolden + "/data"},
		Files: []host.File{
			{Path: script, Mode: 0o440, Content: secret.New(mysqlGoldenScript)},
			{Path: mysqlGolden + "/initialize.sh", Mode: 0o440, Content: secret.New(mysqlInitializeScript)},
			{Path: mysqlGolden + "/seed.sql", Mode: 0o440, Content: secret.New(mysqlTimeZones + mysqlOwn)},
		},
		Scratch:   map[string]int64{"/tmp": 16 * miB},
		Resources: host.Resources{CPUMillis: 2000, MemoryBytes: 512 * miB}, PidsLimit: 128,
	}, !e.noGolden
}

// Seeds are what golden data holds beside what mysqld makes by itself.
func (mysqlEngine) Seeds() []host.File {
	return []host.File{
		{Path: mysqlHome + "/conf/seed.sql", Mode: 0o440, Content: secret.New(mysqlTimeZones + mysqlOwn)},
	}
}

// Connection says how to connect.
func (mysqlEngine) Connection(inst instance.Instance, cred instance.Credentials) instance.Connection {
	uri := url.URL{
		Scheme: "mysql", User: url.UserPassword(cred.Username, cred.Password.Reveal()),
		Host: hostPort(inst), Path: "/" + cred.Database,
	}
	// It was rendered from the same instance before it was started.
	config, _ := renderMySQLConfig(inst)
	return instance.Connection{
		Host: inst.Status.Address, Port: inst.Status.Port,
		Username: cred.Username, Password: cred.Password, Database: cred.Database,
		URI: secret.New(uri.String()),
		CLI: mysqlCLI(inst, cred), Forms: mysqlForms(inst, cred, uri), TLS: mysqlTLS(inst, cred, uri),
		File: instance.ConfigFile{Name: "my.cnf", Content: config},
	}
}

func renderMySQLConfig(inst instance.Instance) (string, error) {
	p, mem, disk := inst.Spec.Parameters, inst.Spec.Resources.MemoryBytes, inst.Spec.Resources.DiskBytes
	return render(mysqlConfig, map[string]any{
		"Charset": p.String(paramCharset), "Collation": p.String(paramCollation),
		"BinlogFormat": p.String(paramBinlogFormat), "MaxConnections": p.Int(paramMaxConnections),
		"LockWaitTimeout": p.Int(paramLockWaitTimeout), "WaitTimeout": p.Int(paramWaitTimeout),
		"BufferPool":  bufferPool(mem),
		"RedoLog":     clamp(mem/16/miB*miB, 32*miB, giB),
		"LogBuffer":   clamp(mem/64/miB*miB, 8*miB, 64*miB),
		"TempTables":  clamp(mem/16/miB*miB, 16*miB, giB),
		"TableCache":  clamp(mem/miB, 400, 4000),
		"BinaryLog":   binaryLogSize(disk),
		"Transaction": max(disk/transactionShare/miB*miB, 64*miB),
		"UndoLog":     clamp(disk/20/miB*miB, 16*miB, giB),
		"TempFile":    clamp(disk/10/miB*miB, 64*miB, 10*giB),
		"TempMapped":  clamp(disk/20/miB*miB, 16*miB, giB),
		"Packet":      largestPacket(mem),
		"Big":         mem >= mysqlBig,
		"Summaries":   mysqlBig <= mem && mem < mysqlVast,
		"Certified":   !inst.Status.CertifiedUntil.IsZero(),
	})
}

// bufferPool gives InnoDB the more of the memory, the less the server's own needs
// weigh in it.
func bufferPool(mem int64) int64 {
	switch {
	case mem < giB:
		return mem / 4 / miB * miB
	case mem < 4*giB:
		return mem * 3 / 8 / miB * miB
	default:
		return mem / 2 / miB * miB
	}
}

// largestPacket bounds a row, and a statement. The server holds about a dozen copies of it
// while it writes a document, and they must have room beside everything else: measured in
// TestMySQLLargestRowOnDocker.
func largestPacket(mem int64) int64 {
	if mem < mysqlBig {
		return clamp(mem/32/miB*miB, 8*miB, 16*miB)
	}
	return min(mem/64/miB*miB, giB)
}

// renderMySQLInit gives the statements that mysqld runs at every start. They bring any
// state to the wanted one: the instance's accounts and no others. Only the last one waits
// for the disk, and takes with it what the others wrote to the log before it.
func renderMySQLInit(inst instance.Instance, cred instance.Credentials) (string, error) {
	for what, value := range map[string]string{
		"user name": cred.Username, "database name": cred.Database,
		"password": cred.Password.Reveal(), "administrator's password": cred.AdminPassword.Reveal(),
		"charset": inst.Spec.Parameters.String(paramCharset), "collation": inst.Spec.Parameters.String(paramCollation),
	} {
		if err := checkPlain(what, value); err != nil {
			return "", err
		}
	}
	own, err := berthPassword(inst, cred)
	if err != nil {
		return "", err
	}
	return render(mysqlInit, map[string]any{
		"Berth": mysqlBerth, "BerthPassword": own.Reveal(),
		"Username": cred.Username, "Password": cred.Password.Reveal(), "AdminPassword": cred.AdminPassword.Reveal(),
		"Warm": warm(inst), "RequireTLS": inst.Spec.RequireTLS, "Full": inst.Status.Disk.State == instance.DiskFull, "Writes": mysqlWrites,
		"Database": cred.Database, "DatabasePattern": grantPattern(cred.Database),
		"Charset": inst.Spec.Parameters.String(paramCharset), "Collation": inst.Spec.Parameters.String(paramCollation),
	})
}
