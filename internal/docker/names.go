package docker

import (
	"strconv"
	"strings"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
)

// The labels of containers and volumes. They never change after creation.
const (
	labelDeployment = "berth.deployment"
	labelInstance   = "berth.instance"
	labelFence      = "berth.fence"
	labelTenant     = "berth.tenant"
	labelEngine     = "berth.engine"
	// labelSpec is a digest of how the container was asked to be, without its files.
	labelSpec = "berth.spec"
	// labelGolden is on golden images and on what makes them: what the image is made of.
	// Containers of instances have it from their image.
	labelGolden = "berth.golden"
	// labelEmpty is on a volume that Docker made where one with the instance's data should
	// have been: the instance's id. It has no other label of an instance's volume.
	labelEmpty = "berth.empty"
	// labelFiller is on a container that files are copied through: the instance's id.
	labelFiller = "berth.filler"
	// labelNetwork is on the network of instances, which is every deployment's.
	labelNetwork = "berth.network"
	// labelPort and the port's name: "18001:6379", the host's port and the container's.
	labelPort = "berth.port."
)

// nameOf gives the name of the instance's container, and of its volume.
func nameOf(id host.UnitID) string { return "berth-" + string(id) }

// stands compares what a thing's labels say with who asks.
func (r *Runtime) stands(labels map[string]string, id host.UnitID, fence int64) fencing.Standing {
	return Stands(labels, r.deployment, id, fence)
}

// labelsOf gives the labels of everything that is made for the workload.
func labelsOf(w host.Workload, deployment string) map[string]string {
	return map[string]string{
		labelDeployment: deployment,
		labelInstance:   string(w.Unit),
		labelFence:      strconv.FormatInt(w.Fence, 10),
		labelTenant:     string(w.Tenant),
		labelEngine:     w.Engine,
	}
}

// boundPort is a port of the container and the port of the host that it was asked
// to be published on.
type boundPort struct{ host, container int }

// portsOf reads the ports back from a container's labels, by name.
func portsOf(labels map[string]string) map[string]boundPort {
	ports := map[string]boundPort{}
	for key, value := range labels {
		name, ok := strings.CutPrefix(key, labelPort)
		if !ok {
			continue
		}
		left, right, _ := strings.Cut(value, ":")
		host, err1 := strconv.Atoi(left)
		inside, err2 := strconv.Atoi(right)
		if err1 == nil && err2 == nil {
			ports[name] = boundPort{host, inside}
		}
	}
	return ports
}

func fenced(id host.UnitID, what string) *fault.Error {
	return fault.Errorf(fault.CodeFenced, nil, "the %s of instance %s was created under a newer fencing token", what, id)
}
