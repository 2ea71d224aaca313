package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/provision"
)

const (
	barePort = 27999
	bareName = "berth-bench-bare"
)

// bareDocker speaks to the engine with nothing in between, over its HTTP API
// (https://docs.docker.com/reference/api/engine/). It makes the fewest calls that
// start a server: volume, container, files, start.
type bareDocker struct{ http *http.Client }

func newBareDocker() *bareDocker {
	socket := strings.TrimPrefix(envOr("BERTH_DOCKER_HOST", "unix:///var/run/docker.sock"), "unix://")
	return &bareDocker{http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
}

func (d *bareDocker) call(ctx context.Context, method, path, contentType string, body io.Reader) error {
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
	if err == nil && answer.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	return err
}

func (d *bareDocker) json(ctx context.Context, path string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return d.call(ctx, http.MethodPost, path, "application/json", bytes.NewReader(b))
}

// present gives the first of the images that the engine has.
func (d *bareDocker) present(ctx context.Context, images []string) (string, error) {
	var err error
	for _, image := range images {
		if err = d.call(ctx, http.MethodGet, "/images/"+image+"/json", "", nil); err == nil {
			return image, nil
		}
	}
	return "", fmt.Errorf("no image; run scripts/images.sh: %w", err)
}

type object = map[string]any

func (d *bareDocker) createVolume(ctx context.Context) error {
	return d.json(ctx, "/volumes/create", object{"Name": bareName})
}

func (d *bareDocker) start(ctx context.Context, w provision.Workload) error {
	port := strconv.Itoa(w.Ports[0].Container) + "/tcp"
	scratch := object{}
	for folder, size := range w.Scratch {
		scratch[folder] = fmt.Sprintf("size=%d,mode=1777", size)
	}
	err := d.json(ctx, "/containers/create?name="+bareName, object{
		"Image": w.Image, "User": w.User, "Entrypoint": w.Command[:1], "Cmd": w.Command[1:],
		"ExposedPorts": object{port: object{}},
		"HostConfig": object{
			"Memory": w.Resources.MemoryBytes, "NanoCpus": w.Resources.CPUMillis * 1e6, "ReadonlyRootfs": true, "CapDrop": []string{"ALL"},
			"Tmpfs":        scratch,
			"Mounts":       []object{{"Type": "volume", "Source": bareName, "Target": w.DataPath}},
			"PortBindings": object{port: []object{{"HostIp": "127.0.0.1", "HostPort": strconv.Itoa(barePort)}}},
		},
	})
	if err != nil {
		return err
	}
	files, err := packed(w)
	if err != nil {
		return err
	}
	if err := d.call(ctx, http.MethodPut, "/containers/"+bareName+"/archive?path="+w.DataPath, "application/x-tar", files); err != nil {
		return err
	}
	return d.json(ctx, "/containers/"+bareName+"/start", nil)
}

// packed gives the files as a tar, below the data folder.
func packed(w provision.Workload) (io.Reader, error) {
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

// removeContainer ends it in peace, so that its data needs no recovery.
func (d *bareDocker) removeContainer(ctx context.Context) error {
	if err := d.json(ctx, "/containers/"+bareName+"/stop?t=60", nil); err != nil {
		return err
	}
	return d.call(ctx, http.MethodDelete, "/containers/"+bareName+"?force=true&v=true", "", nil)
}

func (d *bareDocker) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := d.removeContainer(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	return d.call(ctx, http.MethodDelete, "/volumes/"+bareName, "", nil)
}
