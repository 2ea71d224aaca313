package instancetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// The fake engine's names.
const (
	EngineName  = "fake"
	EngineImage = "fake:1"
)

// Engine is a instance.Engine whose servers exist in a Runtime only.
type Engine struct{ Runtime *hosttest.Runtime }

var (
	_ instance.Adopter  = Engine{}
	_ instance.Keymaker = Engine{}

	_ instance.DiskKeeper = Engine{}
)

// Describe gives what it offers.
func (Engine) Describe() instance.EngineInfo {
	const mib = 1 << 20
	return instance.EngineInfo{
		Name: EngineName, Title: "Fake",
		Versions: []instance.Version{{Name: "1", Images: []string{EngineImage}}},
		Plans: []instance.Plan{
			{Name: "small", Resources: host.Resources{CPUMillis: 100, MemoryBytes: 64 * mib, DiskBytes: 64 * mib}},
			{Name: "large", Resources: host.Resources{CPUMillis: 400, MemoryBytes: 256 * mib, DiskBytes: 256 * mib}},
		},
		Limits: instance.ResourceLimits{
			Min: host.Resources{CPUMillis: 50, MemoryBytes: 16 * mib, DiskBytes: 16 * mib},
			Max: host.Resources{CPUMillis: 1000, MemoryBytes: 1024 * mib, DiskBytes: 1024 * mib},
		},
		Parameters: []instance.Parameter{{Name: "clients", Type: instance.TypeInteger, Min: 1, Max: 10000, Default: int64(10)}},
	}
}

// Complete gives ten clients where nothing is said.
func (Engine) Complete(given instance.Parameters, _ host.Resources) instance.Parameters {
	complete := instance.Parameters{"clients": int64(10)}
	for name, value := range given {
		complete[name] = value
	}
	return complete
}

// Check allows one client for each MiB. It must not be asked about a size that was
// refused.
func (Engine) Check(p instance.Parameters, size host.Resources) []fault.FieldError {
	if size.MemoryBytes == 0 {
		panic("checked without a size")
	}
	if most := size.MemoryBytes >> 20; p.Int("clients") > most {
		return []fault.FieldError{{Field: "parameters.clients", Message: fmt.Sprintf("must be at most %d", most)}}
	}
	return nil
}

// Ports is one.
func (Engine) Ports(bool) int { return 1 }

// NewCredentials makes up two passwords.
func (Engine) NewCredentials(_ instance.Instance, g secret.Generator) instance.Credentials {
	return instance.Credentials{Username: "tenant", Password: g.Password(28), AdminPassword: g.Password(28)}
}

// Golden has some.
func (Engine) Golden(instance.Instance) (host.Golden, bool) {
	return host.Golden{Name: EngineName, Command: []string{"make"}, User: "1:1", Path: "/golden"}, true
}

// Workload has one port, and a file with the password.
func (Engine) Workload(inst instance.Instance, creds instance.Credentials) (host.Workload, error) {
	if creds.Password.Empty() {
		return host.Workload{}, errors.New("no password")
	}
	return host.Workload{
		Unit: host.UnitID(inst.ID), Tenant: inst.Tenant, Engine: EngineName, User: "1:1", Resources: inst.Spec.Resources, DataPath: "/data",
		Ports: []host.PortBinding{{Name: EngineName, Container: 1}}, StopGrace: time.Second,
		Files: []host.File{{Path: "/data/password", Mode: 0o400, Content: creds.Password}},
	}, nil
}

// NewKeys gives a key that nobody else gets.
func (Engine) NewKeys() ([]host.File, error) {
	return []host.File{{Path: "/data/key", Mode: 0o400, Content: secret.New(rand.Text())}}, nil
}

// Probe asks the Runtime, and logs in.
func (e Engine) Probe(_ context.Context, inst instance.Instance, creds instance.Credentials) error {
	file, _, ok := e.Runtime.File(host.UnitID(inst.ID), "/data/password")
	if ok && file.Content.Reveal() != creds.Password.Reveal() {
		return fault.Errorf(fault.CodeProbeFailed, nil, "the password is another one")
	}
	return e.Runtime.Probe(host.UnitID(inst.ID))
}

// KeepDisk asks the Runtime.
func (e Engine) KeepDisk(_ context.Context, inst instance.Instance, _ instance.Credentials, refuse func(int64) bool) (int64, error) {
	return e.Runtime.KeepDisk(host.UnitID(inst.ID), refuse)
}

// Adopt wants the new password to be in its place, and the old one to be known.
func (e Engine) Adopt(_ context.Context, inst instance.Instance, creds instance.Credentials) error {
	file, _, _ := e.Runtime.File(host.UnitID(inst.ID), "/data/password")
	if creds.WarmPassword.Empty() || file.Content.Reveal() != creds.Password.Reveal() || creds.Password == creds.WarmPassword {
		return errors.New("the files are not in place")
	}
	return nil
}

// Connection gives address and password.
func (Engine) Connection(inst instance.Instance, creds instance.Credentials) instance.Connection {
	return instance.Connection{
		Host: inst.Status.Address, Port: inst.Status.Port, Username: creds.Username, Password: creds.Password,
		URI: secret.New("fake://" + creds.Password.Reveal()), CLI: secret.New("fake " + creds.Password.Reveal()),
	}
}

// FakeServers gives engines whose servers exist in the Runtime only.
func FakeServers(c instance.Catalog, r *hosttest.Runtime) instance.Catalog {
	faked := make(instance.Catalog, len(c))
	for i, e := range c {
		faked[i] = fakeServers{e, r}
	}
	return faked
}

type fakeServers struct {
	instance.Engine
	runtime *hosttest.Runtime
}

func (e fakeServers) Probe(_ context.Context, inst instance.Instance, _ instance.Credentials) error {
	return e.runtime.Probe(host.UnitID(inst.ID))
}
