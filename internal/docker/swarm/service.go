package swarm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

const (
	// labelNode is on everything that is made for a unit: the node that it is pinned to.
	labelNode = "berth.node"
	// labelImage is on a unit's config: an image that its node has.
	labelImage = "berth.image"
	// labelErrand is on an errand's service and secret: the unit that it is for.
	labelErrand = "berth.errand"
	// nodeLetters are what of a node's id is in names, which have at most 63 letters.
	nodeLetters = 12
)

// nameOn gives the name of the unit's service on the node, and of its config.
func nameOn(id host.UnitID, node string) string {
	return docker.NameOf(id) + "-" + node[:min(len(node), nodeLetters)]
}

// labelsOn gives the labels of everything that is made for the workload on the node.
func labelsOn(w host.Workload, deployment, node string) map[string]string {
	labels := docker.LabelsOf(w, deployment)
	labels[labelNode] = node
	return labels
}

// serviceOf maps a workload to its service, which runs nothing yet. It holds no secret. It is in the
// node's own default network: a swarm's network of the driver "bridge" could be as the one of hosts of
// their own, but an engine that was restarted refuses it for ever ("network … exists", 20.10).
func serviceOf(w host.Workload, deployment string, at address) (swarm.ServiceSpec, error) {
	if len(w.Command) == 0 || w.DataPath == "" {
		return swarm.ServiceSpec{}, fault.Errorf(fault.CodeInternal, nil, "the workload of %s has no command or no data path", w.Unit)
	}
	labels := labelsOn(w, deployment, at.node)
	docker.PortLabels(w, labels)
	s := swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: nameOn(w.Unit, at.node), Labels: labels},
		TaskTemplate: taskOf(w, at),
		Mode:         replicas(0),
		EndpointSpec: &swarm.EndpointSpec{Mode: swarm.ResolutionModeDNSRR, Ports: portsFor(w)},
	}
	digest, err := digestOf(s)
	if err != nil {
		return s, err
	}
	s.Labels[docker.LabelSpec] = digest
	return s, nil
}

func taskOf(w host.Workload, at address) swarm.TaskSpec {
	init, grace := true, w.StopGrace
	return swarm.TaskSpec{
		ContainerSpec: &swarm.ContainerSpec{
			Image: w.Image, Command: w.Command[:1], Args: w.Command[1:], Hostname: docker.Hostname(w), User: w.User,
			Init: &init, ReadOnly: true, StopGracePeriod: &grace, Mounts: mountsOf(w, at),
			CapabilityDrop: []string{"ALL"}, Privileges: &swarm.Privileges{NoNewPrivileges: true}, // which engines before 28 do not know
			Ulimits: ulimits(w.FileBytes),
			// Berth probes from outside, with the tenant's credentials.
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		},
		Resources: &swarm.ResourceRequirements{Limits: &swarm.Limit{
			NanoCPUs: w.Resources.CPUMillis * docker.NanoPerMilli, MemoryBytes: w.Resources.MemoryBytes, Pids: w.PidsLimit,
		}},
		// What ends stays ended until a claim starts it, and is nowhere else meanwhile.
		RestartPolicy: &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionNone},
		Placement:     pinned(at.node),
		LogDriver:     &swarm.Driver{Name: "json-file", Options: map[string]string{"max-size": "10m", "max-file": "3"}},
	}
}

func pinned(node string) *swarm.Placement {
	return &swarm.Placement{Constraints: []string{"node.id==" + node}}
}

func replicas(n uint64) swarm.ServiceMode {
	return swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}}
}

func wanted(s swarm.ServiceSpec) bool {
	return s.Mode.Replicated != nil && s.Mode.Replicated.Replicas != nil && *s.Mode.Replicated.Replicas > 0
}

// unitFolder is the unit's on its node; its data are in the folder "data" of it.
func unitFolder(id host.UnitID, at address) string { return path.Join(at.data, string(id)) }

func mountsOf(w host.Workload, at address) []mount.Mount {
	mounts := []mount.Mount{{Type: mount.TypeBind, Source: path.Join(unitFolder(w.Unit, at), "data"), Target: w.DataPath}}
	for folder, size := range w.Scratch {
		mounts = append(mounts, mount.Mount{
			Type: mount.TypeTmpfs, Target: folder, TmpfsOptions: &mount.TmpfsOptions{SizeBytes: size, Mode: 0o1777},
		})
	}
	slices.SortFunc(mounts[1:], func(a, b mount.Mount) int { return strings.Compare(a.Target, b.Target) })
	return mounts
}

// portsFor publishes on the node, on all of its addresses: a swarm knows no others.
func portsFor(w host.Workload) []swarm.PortConfig {
	var ports []swarm.PortConfig
	for _, p := range w.Ports {
		ports = append(ports, swarm.PortConfig{
			Name: p.Name, Protocol: swarm.PortConfigProtocolTCP, PublishMode: swarm.PortConfigPublishModeHost,
			TargetPort: uint32(p.Container), PublishedPort: uint32(p.Host), //nolint:gosec // ports
		})
	}
	return ports
}

// ulimits are those that a container of an engine of its own has (see package docker).
func ulimits(file int64) []*container.Ulimit {
	limits := []*container.Ulimit{{Name: "core"}}
	if file > 0 {
		limits = append(limits, &container.Ulimit{Name: "fsize", Soft: file, Hard: file})
	}
	return limits
}

func digestOf(s swarm.ServiceSpec) (string, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("encode the service's spec: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}

// ours gives the labels by which what a deployment has on the node is listed.
func ours(deployment, node string) []string {
	return []string{docker.LabelDeployment + "=" + deployment, labelNode + "=" + node}
}

func fenceText(fence int64) string { return strconv.FormatInt(fence, 10) }
