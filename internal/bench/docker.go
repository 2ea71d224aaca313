package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/host"
)

// bareDocker speaks to the engine with nothing in between, over its HTTP API
// (https://docs.docker.com/reference/api/engine/).
type bareDocker struct{ http *http.Client }

func newBareDocker() *bareDocker {
	host := envOr("BERTH_DOCKER_HOST", "unix:///var/run/docker.sock")
	network, address := "unix", strings.TrimPrefix(host, "unix://")
	if tcp, ok := strings.CutPrefix(host, "tcp://"); ok {
		network, address = "tcp", tcp
	}
	return &bareDocker{http: &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		MaxIdleConnsPerHost: 32,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}}}
}

type object = map[string]any

// call sends a request and reads its answer into out, if that is not nil.
func (d *bareDocker) call(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	answer, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end below
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(text, out)
	}
	return err
}

func (d *bareDocker) get(ctx context.Context, path string, out any) error {
	return d.call(ctx, http.MethodGet, path, "", nil, out)
}

func (d *bareDocker) post(ctx context.Context, path string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return d.call(ctx, http.MethodPost, path, "application/json", bytes.NewReader(b), nil)
}

func (d *bareDocker) delete(ctx context.Context, path string) error {
	return d.call(ctx, http.MethodDelete, path, "", nil, nil)
}

// present gives the first of the images that the engine has.
func (d *bareDocker) present(ctx context.Context, images []string) (string, error) {
	var err error
	for _, image := range images {
		if err = d.get(ctx, "/images/"+image+"/json", nil); err == nil {
			return image, nil
		}
	}
	return "", fmt.Errorf("no image; run scripts/images.sh: %w", err)
}

func filtered(label string) string {
	return url.QueryEscape(fmt.Sprintf(`{"label":[%q]}`, label))
}

// removeAll removes all containers and volumes with the label.
func (d *bareDocker) removeAll(ctx context.Context, label string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var containers []struct{ ID string }
	err := d.get(ctx, "/containers/json?all=true&filters="+filtered(label), &containers)
	for _, c := range containers {
		err = errors.Join(err, d.delete(ctx, "/containers/"+c.ID+"?force=true&v=true"))
	}
	var volumes struct{ Volumes []struct{ Name string } }
	err = errors.Join(err, d.get(ctx, "/volumes?filters="+filtered(label), &volumes))
	for _, v := range volumes.Volumes {
		err = errors.Join(err, d.delete(ctx, "/volumes/"+v.Name+"?force=true"))
	}
	var networks []struct{ ID string }
	err = errors.Join(err, d.get(ctx, "/networks?filters="+filtered(label), &networks))
	for _, n := range networks {
		err = errors.Join(err, d.delete(ctx, "/networks/"+n.ID))
	}
	return err
}

func (b *bench) labels() object { return object{"berth.bench": b.id} }

// createVolume makes a volume of this run's.
func (b *bench) createVolume(ctx context.Context, name string) error {
	return b.docker.post(ctx, "/volumes/create", object{"Name": name, "Labels": b.labels()})
}

// createNetwork makes a network of this run's that passes nothing from one container to
// another, as that of instances.
func (b *bench) createNetwork(ctx context.Context, name string) error {
	return b.docker.post(ctx, "/networks/create", object{
		"Name": name, "Driver": "bridge", "Labels": b.labels(),
		"Options": object{"com.docker.network.bridge.enable_icc": "false", "com.docker.network.bridge.enable_ip_masquerade": "false"},
	})
}

// startWorkload makes the fewest calls that start a server: container, files if there are
// any, start.
func (b *bench) startWorkload(ctx context.Context, name, network string, ports []int, w host.Workload) error {
	exposed, bindings := object{}, object{}
	for i, p := range w.Ports {
		inside := strconv.Itoa(p.Container) + "/tcp"
		exposed[inside], bindings[inside] = object{}, published(ports[i])
	}
	scratch := object{}
	for folder, size := range w.Scratch {
		scratch[folder] = fmt.Sprintf("size=%d,mode=1777", size)
	}
	err := b.docker.post(ctx, "/containers/create?name="+name, object{
		"Image": w.Image, "User": w.User, "Entrypoint": w.Command[:1], "Cmd": w.Command[1:], "Labels": b.labels(),
		"ExposedPorts": exposed,
		"HostConfig": object{
			"NetworkMode": network,
			"Memory":      w.Resources.MemoryBytes, "NanoCpus": w.Resources.CPUMillis * 1e6, "ReadonlyRootfs": true, "CapDrop": []string{"ALL"},
			"Tmpfs":        scratch,
			"Mounts":       []object{{"Type": "volume", "Source": name, "Target": w.DataPath}},
			"PortBindings": bindings,
		},
	})
	if err != nil {
		return err
	}
	if len(w.Files) > 0 {
		files, err := packed(w)
		if err != nil {
			return err
		}
		if err := b.docker.call(ctx, http.MethodPut, "/containers/"+name+"/archive?path="+w.DataPath, "application/x-tar", files, nil); err != nil {
			return err
		}
	}
	return b.docker.post(ctx, "/containers/"+name+"/start", nil)
}

func published(port int) []object {
	return []object{{"HostIp": "127.0.0.1", "HostPort": strconv.Itoa(port)}}
}

// startImage starts an image as its makers mean it to be started.
func (b *bench) startImage(ctx context.Context, name, image, inside string, port int, environment []string, command ...string) error {
	config := object{
		"Image": image, "Env": environment, "Labels": b.labels(), "ExposedPorts": object{inside: object{}},
		"HostConfig": object{"PortBindings": object{inside: published(port)}},
	}
	if len(command) > 0 {
		config["Cmd"] = command
	}
	if err := b.docker.post(ctx, "/containers/create?name="+name, config); err != nil {
		return err
	}
	return b.docker.post(ctx, "/containers/"+name+"/start", nil)
}

// packed gives the files as a tar, below the data folder.
func packed(w host.Workload) (io.Reader, error) {
	uid, err := strconv.Atoi(strings.Split(w.User, ":")[0])
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	out := tar.NewWriter(&b)
	put := func(kind byte, name string, mode int64, content string) {
		if err == nil {
			err = out.WriteHeader(&tar.Header{Typeflag: kind, Name: name, Mode: mode, Uid: uid, Gid: uid, Size: int64(len(content))})
		}
		if err == nil {
			_, err = out.Write([]byte(content))
		}
	}
	put(tar.TypeDir, "../"+path.Base(w.DataPath)+"/", 0o700, "")
	for _, f := range w.Files {
		name := strings.TrimPrefix(f.Path, w.DataPath+"/")
		put(tar.TypeDir, path.Dir(name)+"/", 0o700, "")
		put(tar.TypeReg, name, int64(f.Mode), f.Content.Reveal())
	}
	if err == nil {
		err = out.Close()
	}
	return &b, err
}
