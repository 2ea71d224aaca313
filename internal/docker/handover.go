package docker

import (
	"bytes"
	_ "embed"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// handover is what a container runs that takes its files from its standard input. Docker
// needs no process of its own for that, as it does to unpack an archive in a container,
// which takes it up to 35 ms. They are taken once for each container: one that is started
// again by hand goes on with what it has, and waits for nobody. One whose files do not
// come within half a minute, or end too early, ends, too.
//
//go:embed handover.sh
var handover string

// takesFiles makes the container one that takes its files from its standard input.
func takesFiles(c *container.Config, w host.Workload) {
	claim := strconv.FormatInt(w.Fence, 10)
	c.Entrypoint = []string{"/bin/sh"}
	c.Cmd = append([]string{"-c", handover, "berth", path.Clean(w.DataPath), claim}, w.Command...)
	c.OpenStdin, c.StdinOnce, c.AttachStdin = true, true, true
}

// inputOf gives the workload's files as handover.sh reads them: before each one a line with
// the number of its lines, the bits that its mode must not have, and its path.
func inputOf(w host.Workload) ([]byte, error) {
	names, err := relativePaths(w.Files, path.Clean(w.DataPath))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for i, f := range w.Files {
		content := f.Content.Reveal()
		switch {
		case f.Mode&0o111 != 0:
			return nil, fault.Errorf(fault.CodeInternal, nil, "file %s is executable, which is not supported", f.Path)
		case content != "" && !strings.HasSuffix(content, "\n"), strings.Contains(content, "\x00"):
			return nil, fault.Errorf(fault.CodeInternal, nil, "file %s is not text that ends with a newline", f.Path)
		}
		_, _ = fmt.Fprintf(&b, "%d %04o ./%s\n%s", strings.Count(content, "\n"), 0o777&^f.Mode, names[i], content) // it never fails
	}
	b.WriteString("end\n")
	return b.Bytes(), nil
}
