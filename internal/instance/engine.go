package instance

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

// Engine is a kind of data service. An implementation is pure but for Probe: it
// describes, checks and renders, and leaves the doing to the Runner.
type Engine interface {
	// Describe gives what the engine offers. It never changes while the process runs.
	Describe() EngineInfo
	// Complete gives every parameter a value: what was given, and for the rest what
	// suits an instance of this size and the parameters given.
	Complete(given Parameters, size host.Resources) Parameters
	// Check finds what is wrong with complete parameters as a whole (a collation that
	// does not fit the charset, more memory than the plan has). Fields are named
	// "parameters.NAME".
	Check(Parameters, host.Resources) []fault.FieldError
	// Ports says how many ports of a host an instance takes, one or two: the second is for
	// connections with TLS, where these need one.
	Ports(requireTLS bool) int
	// NewCredentials makes up the tenant's credentials, and the administrator's.
	NewCredentials(Instance, secret.Generator) Credentials
	// Workload says what to run. The same instance and credentials give the same
	// workload. It has a second port where the instance has one (Status.TLSPort). Ports carry
	// no host port yet.
	Workload(Instance, Credentials) (host.Workload, error)
	// Golden says how to make what the first start of such an instance would make, where
	// that is worth sharing. A workload starts from it where its image has it, and makes
	// it by itself where not.
	Golden(Instance) (host.Golden, bool)
	// Probe does real work with the tenant's credentials, over the address that the
	// tenant will use, and leaves no trace. One try, bounded by the context; an error
	// says what did not work, without secrets.
	Probe(context.Context, Instance, Credentials) error
	// Connection says how to connect, and with which configuration it runs.
	Connection(Instance, Credentials) Connection
}

// Adopter is an Engine whose servers can be started for nobody, and be given to a
// tenant while they run. For an instance in stock NewCredentials gives those of
// somebody who may do everything, and Workload a server that lets him.
type Adopter interface {
	Engine
	// Adopt brings such a server to the instance as it is asked for: database, every
	// parameter, and last, so that a Probe tells whether all was done, the tenant's
	// credentials. It logs in with WarmPassword, and leaves nobody there who has it. What
	// it cannot bring about while the server runs is an error.
	Adopt(context.Context, Instance, Credentials) error
}

// Certified is an Engine whose servers prove their address by Credentials.Identity.
type Certified interface {
	Engine
	// Recertify has a running server use the certificate that is in its files by now, without
	// a restart, and proves that new connections get it.
	Recertify(context.Context, Instance, Credentials) error
}

// Keymaker is an Engine whose servers make keys of their own at their first start, which
// takes them longer than it would take somebody who has some ready.
type Keymaker interface {
	Engine
	// NewKeys gives files for a workload whose instance has no data yet. They are others
	// each time.
	NewKeys() ([]host.File, error)
}

// Seeder is an Engine whose golden data holds more than its servers make by themselves.
type Seeder interface {
	Engine
	// Seeds gives the files that a first start without golden data needs for that.
	Seeds() []host.File
}

// Caretaker is an Engine that has an account of its own on its servers.
type Caretaker interface {
	Engine
	// Look proves by that account that the server can be used, sees to what the server
	// needs done regularly, and then whether the tenant gets in. Where the server has no
	// such account it does what Probe does. One try, bounded by the context; an error says
	// why the tenant cannot use it, in the same words for the same fault.
	Look(context.Context, Instance, Credentials) (Finding, error)
}

// Finding is what a look at a server that can be used has found.
type Finding struct {
	// Notice is what the tenant should know of their running instance; empty: nothing.
	Notice string
	// Upkeep says what could not be done of what the server needs; it is for the log.
	Upkeep error
}

// NoticePassword is for an instance whose tenant has changed the password inside.
const NoticePassword = "the tenant's password was changed inside the server, so the one that Berth shows no longer works; " +
	"Berth does not change it back: use the new password, or restore the one that Berth shows"

// EngineInfo is what an engine offers.
type EngineInfo struct {
	Name        string // as in the URL: "mysql"
	Title       string // for people: "MySQL"
	Description string
	Versions    []Version // the default first
	Plans       []Plan    // the default first
	Limits      ResourceLimits
	Parameters  []Parameter
}

// Version is one version of an engine and the images that it can run on, the
// preferred first: the first that is present is taken, else the first is pulled.
type Version struct {
	Name   string
	Images []string
	// Modules are what its public image brings beside the server itself, by the names that
	// the server gives them. They are loaded wherever an image has them.
	Modules []string
}

// Plan is a name for resource limits.
type Plan struct {
	Name        string
	Description string
	Resources   host.Resources
}

// PlanCustom is the plan of instances with explicit resources.
const PlanCustom = "custom"

// ResourceLimits are the bounds of explicit resources, inclusive.
type ResourceLimits struct{ Min, Max host.Resources }

// Version finds a version by name; an empty name means the default.
func (e EngineInfo) Version(name string) (Version, bool) {
	if name == "" {
		return e.Versions[0], true
	}
	i := slices.IndexFunc(e.Versions, func(v Version) bool { return v.Name == name })
	if i < 0 {
		return Version{}, false
	}
	return e.Versions[i], true
}

// Plan finds a plan by name; an empty name means the default.
func (e EngineInfo) Plan(name string) (Plan, bool) {
	if name == "" {
		return e.Plans[0], true
	}
	i := slices.IndexFunc(e.Plans, func(p Plan) bool { return p.Name == name })
	if i < 0 {
		return Plan{}, false
	}
	return e.Plans[i], true
}

// Connection is everything a tenant needs to use an instance. It is full of
// secrets and is shown by the config endpoint only.
type Connection struct {
	Host     string
	Port     int
	Username string
	Password secret.Secret
	Database string
	URI      secret.Secret // holds the password
	CLI      secret.Secret // a command line to paste; holds the password
	Forms    ConnectionForms
	File     ConfigFile
	TLS      *TLSConnection // nil: the server has no certificate that clients could verify
}

// TLSConnection says how to connect with TLS, so that the client verifies the server.
type TLSConnection struct {
	CA       string // PEM
	Port     int
	Required bool // connections without TLS are refused
	URI      secret.Secret
	CLI      secret.Secret // a command line to paste; it reads the CA from the file ca.pem
	DSN      secret.Secret // of github.com/go-sql-driver/mysql; empty: the engine has no use for it
	Until    time.Time     // the end of the certificate; it is renewed before
}

// ConnectionForms are ways of writing the same connection, ready to be taken by programs.
// Those that an engine has no use for are empty.
type ConnectionForms struct {
	Env     secret.Secret // lines of NAME=value
	JDBC    secret.Secret // of MySQL's Connector/J
	DSN     secret.Secret // of github.com/go-sql-driver/mysql
	MariaDB secret.Secret // mariadb://…
}

// ConfigFile is the rendered configuration the server runs with; no secrets.
type ConfigFile struct {
	Name    string
	Content string
}

// Catalog is the list of engines.
type Catalog []Engine

// Find gives the engine of that name, or CodeNotFound.
func (c Catalog) Find(name string) (Engine, error) {
	for _, e := range c {
		if e.Describe().Name == name {
			return e, nil
		}
	}
	return nil, fault.Errorf(fault.CodeNotFound, nil, "there is no engine %q; available engines: %s", name, strings.Join(c.Names(), ", "))
}

// Names gives the names of the engines.
func (c Catalog) Names() []string {
	names := make([]string, 0, len(c))
	for _, e := range c {
		names = append(names, e.Describe().Name)
	}
	return names
}
