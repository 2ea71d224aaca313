package simulated

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/fencing"
	"github.com/berth-project/berth/internal/tenant"
)

const (
	suffix   = ".json"
	lockName = "lock"
)

// thing is what the host has of one instance, which is what its file says.
type thing struct {
	Deployment string      `json:"deployment"` // empty: somebody else's
	Tenant     tenant.ID   `json:"tenant"`
	Volume     *volume     `json:"volume,omitempty"`
	Container  *container  `json:"container,omitempty"`
	id         host.UnitID // the file's name
}

type volume struct {
	Fence   int64     `json:"fence"`
	Created time.Time `json:"created"`
	Used    int64     `json:"used,omitempty"`    // bytes that a test has it hold
	Refuses bool      `json:"refuses,omitempty"` // its server takes nothing more
}

type container struct {
	Fence   int64          `json:"fence"`
	Created time.Time      `json:"created"`
	Started time.Time      `json:"started"`
	Running bool           `json:"running"`
	Settled bool           `json:"settled"`
	Ports   map[string]int `json:"ports"`
	CPU     int64          `json:"cpu,omitempty"`    // millicores
	Memory  int64          `json:"memory,omitempty"` // bytes
}

// marks says who made the two; nil: it is not there. A file is one deployment's as a whole:
// in another's, both are there.
func (t *thing) marks(deployment string) (container, volume *fencing.Mark) {
	switch {
	case t == nil:
		return nil, nil
	case t.Deployment != deployment:
		others := &fencing.Mark{Deployment: t.Deployment}
		return others, others
	}
	if t.Container != nil {
		container = &fencing.Mark{Deployment: deployment, Fence: t.Container.Fence}
	}
	if t.Volume != nil {
		volume = &fencing.Mark{Deployment: deployment, Fence: t.Volume.Fence}
	}
	return container, volume
}

// locked does something while no other process changes the host.
func (h *machine) locked(do func() error) error {
	lock, err := os.OpenFile(filepath.Join(h.dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return unavailable(err)
	}
	defer lock.Close() //nolint:errcheck // which gives the lock back
	for {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX) //nolint:gosec // a file descriptor fits
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return unavailable(err)
	}
	return do()
}

func unavailable(err error) error {
	return fault.Errorf(fault.CodeHostUnavailable, err, "the simulated host does not answer: %v", err)
}

func (h *machine) path(id host.UnitID) string {
	return filepath.Join(h.dir, filepath.Base(string(id))+suffix)
}

// read gives what there is of the instance; nil: nothing.
func (h *machine) read(id host.UnitID) (*thing, error) {
	t, err := readFile(h.path(id))
	if err != nil {
		return nil, unavailable(err)
	}
	if t != nil {
		t.id = id
	}
	return t, nil
}

func readFile(path string) (*thing, error) {
	content, err := os.ReadFile(path) //nolint:gosec // of the host's folder
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nothing is an answer here
	}
	if err != nil {
		return nil, err
	}
	t := &thing{}
	if err := json.Unmarshal(content, t); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// write puts the thing in the place of what there was, or takes it away where nothing is
// left of it. A reader sees the one or the other.
func (h *machine) write(t *thing) error {
	path := h.path(t.id)
	if t.Volume == nil && t.Container == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return unavailable(err)
		}
		return nil
	}
	content, err := json.Marshal(t)
	if err == nil {
		err = os.WriteFile(path+".new", content, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// takePorts notes who has the ports, and gives the first that somebody else has who runs; 0:
// there is none.
func (h *machine) takePorts(t *thing) (refused int, err error) {
	for _, port := range t.Container.Ports {
		note := filepath.Join(h.dir, "port-"+strconv.Itoa(port))
		holder, err := os.ReadFile(note) //nolint:gosec // of the host's folder
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, unavailable(err)
		}
		if id := host.UnitID(holder); err == nil && id != t.id {
			other, err := h.read(id)
			if err != nil {
				return 0, err
			}
			if other != nil && other.Container != nil && other.Container.Running && other.Container.has(port) {
				return port, nil
			}
		}
		if err := os.WriteFile(note, []byte(t.id), 0o600); err != nil {
			return 0, unavailable(err)
		}
	}
	return 0, nil
}

func (c *container) has(port int) bool {
	for _, p := range c.Ports {
		if p == port {
			return true
		}
	}
	return false
}
