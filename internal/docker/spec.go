package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/go-connections/nat"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// spec is a workload in Docker's terms. It holds no secret: all of it can be read
// with docker inspect.
type spec struct {
	Name       string
	Config     *container.Config
	HostConfig *container.HostConfig
}

// digest tells two specs apart.
func (s spec) digest() string { return s.Config.Labels[labelSpec] }

// optionSize has a volume's driver refuse what would make the volume larger. Docker offers it
// where the disk of its volumes has project quotas.
const optionSize = "size"

// volumeOf maps a workload to its volume, bounded by its driver or not.
func volumeOf(w host.Workload, deployment string, bounded bool) volume.CreateOptions {
	options := volume.CreateOptions{Name: nameOf(w.Unit), Driver: "local", Labels: labelsOf(w, deployment)}
	if ceiling := w.Resources.DiskCeiling(); bounded && ceiling > 0 {
		options.DriverOpts = map[string]string{optionSize: strconv.FormatInt(ceiling, 10)}
	}
	return options
}

// specOf maps a workload to its container.
func specOf(w host.Workload, deployment string) (spec, error) {
	if len(w.Command) == 0 || w.DataPath == "" {
		return spec{}, fault.Errorf(fault.CodeInternal, nil, "the workload of %s has no command or no data path", w.Unit)
	}
	exposed, bindings := portsFor(w)
	stopTimeout := wholeSeconds(w.StopGrace)
	s := spec{
		Name: nameOf(w.Unit),
		Config: &container.Config{
			Hostname:     hostname(w),
			Image:        w.Image,
			User:         w.User,
			Entrypoint:   w.Command[:1],
			Cmd:          w.Command[1:],
			ExposedPorts: exposed,
			Labels:       containerLabels(w, deployment),
			StopTimeout:  &stopTimeout,
			// Berth probes from outside, with the tenant's credentials. The image's own
			// check would run as often again, with none.
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		},
		HostConfig: hostConfig(w, deployment, bindings),
	}
	if w.UserOwnsData {
		takesFiles(s.Config, w)
	}
	digest, err := digestOf(s)
	if err != nil {
		return spec{}, err
	}
	s.Config.Labels[labelSpec] = digest
	return s, nil
}

func hostConfig(w host.Workload, deployment string, bindings nat.PortMap) *container.HostConfig {
	init, pids := true, w.PidsLimit
	h := &container.HostConfig{
		Resources: container.Resources{
			Memory:     w.Resources.MemoryBytes,
			MemorySwap: w.Resources.MemoryBytes, // memory and swap together: no swap
			NanoCPUs:   w.Resources.CPUMillis * NanoPerMilli,
			Ulimits:    ulimits(w.FileBytes),
		},
		NetworkMode: networkName,
		Mounts: []mount.Mount{{
			Type:          mount.TypeVolume,
			Source:        nameOf(w.Unit),
			Target:        w.DataPath,
			VolumeOptions: &mount.VolumeOptions{Labels: volumeLabels(w, deployment)},
		}},
		Tmpfs:          tmpfs(w.Scratch),
		PortBindings:   bindings,
		ReadonlyRootfs: true,
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges"},
		// A server that ends stays ended, so that its exit code can be read and it is
		// started again by a repair: with a pause, a count and an event. No policy of
		// Docker's restarts containers after a reboot only.
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
		Init:          &init,
		LogConfig:     container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "3"}},
	}
	if pids > 0 {
		h.PidsLimit = &pids
	}
	return h
}

// ulimits bound what no cgroup does. A server leaves no core files, which would hold the
// tenant's data and fill the disk, and no single file grows beyond so many bytes (0: no limit).
// They only ever lower what the engine has: one that may not raise its own could not start the
// container. So open files are bounded by what the container runs.
func ulimits(file int64) []*container.Ulimit {
	limits := []*container.Ulimit{{Name: "core"}}
	if file > 0 {
		limits = append(limits, &container.Ulimit{Name: "fsize", Soft: file, Hard: file})
	}
	return limits
}

// volumeLabels gives the labels of a volume that Docker makes with the container, because
// it vanished after it had been made or found. Then it must be found as ours; but where
// the instance has data, an empty one must never be taken for it.
func volumeLabels(w host.Workload, deployment string) map[string]string {
	if w.KeepData {
		return map[string]string{labelDeployment: deployment, labelEmpty: string(w.Unit)}
	}
	return labelsOf(w, deployment)
}

func portsFor(w host.Workload) (nat.PortSet, nat.PortMap) {
	// To Docker an empty address means every interface; nobody should get that by
	// leaving something out.
	bind := w.Bind
	if bind == "" {
		bind = "127.0.0.1"
	}
	exposed, bindings := nat.PortSet{}, nat.PortMap{}
	for _, p := range w.Ports {
		port := tcp(p.Container)
		exposed[port] = struct{}{}
		bindings[port] = append(bindings[port], nat.PortBinding{HostIP: bind, HostPort: strconv.Itoa(p.Host)})
	}
	return exposed, bindings
}

func tcp(port int) nat.Port { return nat.Port(strconv.Itoa(port) + "/tcp") }

func containerLabels(w host.Workload, deployment string) map[string]string {
	labels := labelsOf(w, deployment)
	PortLabels(w, labels)
	return labels
}

func tmpfs(scratch map[string]int64) map[string]string {
	mounts := map[string]string{}
	for path, size := range scratch {
		mounts[path] = fmt.Sprintf("rw,noexec,nosuid,nodev,mode=1777,size=%d", size)
	}
	return mounts
}

// hostname gives a short name that is a valid host name whatever the id looks
// like; the end of a ULID is its random part.
func hostname(w host.Workload) string {
	letters := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(string(w.Unit)))
	return "berth-" + letters[max(0, len(letters)-8):]
}

func digestOf(s spec) (string, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("encode container spec: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}
