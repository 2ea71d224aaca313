package docker

import (
	"context"
	"path"
	"strconv"
	"time"

	"github.com/docker/docker/client"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
)

// What the packages below this one share with it: the connection to an engine, with its time limits
// and its translation of errors, and the labels by which Berth knows what is its own.

// Connection is the connection to one engine.
type Connection struct{ engine *engine }

// Connect makes the connection. It does not connect yet; an endpoint that cannot be one
// fails with CodeHostUnavailable.
func Connect(name, endpoint string, config Config) (*Connection, error) {
	e, err := newEngine(name, endpoint, config.withDefaults(), nil)
	if err != nil {
		return nil, err
	}
	return &Connection{e}, nil
}

// API gives the client for calls within Read and Change.
func (c *Connection) API() *client.Client { return c.engine.api }

// Ping asks whether the engine answers.
func (c *Connection) Ping(ctx context.Context) error { return c.engine.ping(ctx) }

// Read makes one call that changes nothing, within the usual time limit. Its error is one of the
// domain, or that of the context.
func (c *Connection) Read(ctx context.Context, doing string, call func(context.Context) error) error {
	return c.engine.read(ctx, doing, call)
}

// Change makes one changing call.
func (c *Connection) Change(ctx context.Context, doing string, call func(context.Context) error) error {
	return c.engine.change(ctx, doing, call)
}

// Close closes the client.
func (c *Connection) Close() error { return c.engine.close() }

// The labels of what Berth makes.
const (
	LabelDeployment = labelDeployment
	LabelInstance   = labelInstance
	LabelSpec       = labelSpec
	LabelPort       = labelPort
)

// NameOf begins the names of what is made for the unit.
func NameOf(id host.UnitID) string { return nameOf(id) }

// LabelsOf gives the labels of everything that is made for the workload.
func LabelsOf(w host.Workload, deployment string) map[string]string { return labelsOf(w, deployment) }

// UnitOf reads a unit from the labels of what was made for it: who it is, and the ports that it was
// asked to have.
func UnitOf(labels map[string]string) host.Unit {
	u := host.Unit{ID: instanceOf(labels), Tenant: tenantOf(labels), Fence: fenceOf(labels), Ports: map[string]int{}}
	for name, port := range portsOf(labels) {
		u.Ports[name] = port.host
	}
	return u
}

// Stands compares what a thing's labels say with who asks.
func Stands(labels map[string]string, deployment string, id host.UnitID, fence int64) fencing.Standing {
	made, err := strconv.ParseInt(labels[labelFence], 10, 64)
	if err != nil || labels[labelInstance] != string(id) {
		return fencing.Foreign
	}
	claim := fencing.Claim{Deployment: deployment, Unit: id, Fence: fence}
	return claim.Standing(fencing.Mark{Deployment: labels[labelDeployment], Fence: made})
}

// PortLabels adds the ports to the labels of what listens on them.
func PortLabels(w host.Workload, labels map[string]string) {
	for _, p := range w.Ports {
		labels[labelPort+p.Name] = strconv.Itoa(p.Host) + ":" + strconv.Itoa(p.Container)
	}
}

// PortRefused gives CodePortRefused where the words say that a host's port is taken; nil: they do not.
func PortRefused(hostName string, err error) error {
	if !portRefused(err) {
		return nil
	}
	return translate(hostName, "start", err)
}

// Cause gives what an error of the domain was made from, and Words what the engine said.
func Cause(err error) error { return cause(err) }

// Words gives what the engine said.
func Words(err error) string { return words(cause(err)) }

// Hostname gives a valid host name for the unit.
func Hostname(w host.Workload) string { return hostname(w) }

// Relative gives the paths of the workload's files from its data folder on.
func Relative(w host.Workload) ([]string, error) {
	return relativePaths(w.Files, path.Clean(w.DataPath))
}

// Tail keeps the last of what is written to it, as Output gives it.
type Tail struct{ tail }

// Moment is a time as Berth gives it.
func Moment(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
