package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	"github.com/docker/docker/api/types/container"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

const (
	// goldenRepository holds the golden images of a host, for all its deployments: what
	// is in one follows from its key alone.
	goldenRepository = "berth/golden"
	// goldenPrefix begins the names of the containers that make them.
	goldenPrefix = "berth-golden-"
)

// goldenSpec is golden data in Docker's terms.
type goldenSpec struct {
	Key     string // what it is made of, in short
	Image   string // the reference of the result
	Make    spec   // the container that makes it
	Archive []byte // to be unpacked at its root
}

// goldenOf maps golden data on the image of that id. The key holds everything that
// the result depends on, so that another image, script or option is another one.
func goldenOf(g host.Golden, imageID string) (goldenSpec, error) {
	root := path.Clean(g.Path)
	if len(g.Command) == 0 || path.Dir(root) != "/" || root == "/" {
		return goldenSpec{}, fault.Errorf(fault.CodeInternal, nil, "golden data of %s: no command, or %q is not below the root", g.Name, g.Path)
	}
	archive, err := archive(g.User, root, strings.TrimPrefix(root, "/")+"/", g.Files)
	if err != nil {
		return goldenSpec{}, err
	}
	sum := sha256.New()
	_, _ = fmt.Fprintf(sum, "%s %q %q %q\n", imageID, g.Command, g.User, root) // it never fails
	_, _ = sum.Write(archive)
	key := hex.EncodeToString(sum.Sum(nil)[:10])
	init, pids := true, g.PidsLimit
	s := goldenSpec{Key: key, Image: goldenRepository + ":" + key, Archive: archive, Make: spec{
		Name: goldenPrefix + key,
		Config: &container.Config{
			Image: imageID, User: g.User, Entrypoint: g.Command[:1], Cmd: g.Command[1:],
			Labels:      map[string]string{labelGolden: key},
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		},
		HostConfig: &container.HostConfig{
			Resources: container.Resources{
				Memory: g.Resources.MemoryBytes, MemorySwap: g.Resources.MemoryBytes, NanoCPUs: g.Resources.CPUMillis * NanoPerMilli,
				Ulimits: ulimits(0),
			},
			NetworkMode: "none",
			Tmpfs:       tmpfs(g.Scratch),
			CapDrop:     []string{"ALL"},
			SecurityOpt: []string{"no-new-privileges"},
			Init:        &init,
			LogConfig:   container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "1m"}},
		},
	}}
	if pids > 0 {
		s.Make.HostConfig.PidsLimit = &pids
	}
	return s, nil
}
