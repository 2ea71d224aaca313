package testenv

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bedLimit is above what a test bed needs to come up, where its parts are here: a root filesystem
// that is made for the first time takes minutes.
const bedLimit = 15 * time.Minute

// FleetHost is one of several hosts, each with a Docker engine that knows nothing of the others. Its
// containers' ports are reached at Address, from this machine and from the other hosts.
type FleetHost struct {
	Name     string // "h1", its host name
	Endpoint string // "tcp://10.215.7.11:2375"
	Address  string // "10.215.7.11"
	Folder   string // of this machine, which goes with the host: for what a host has on its disk

	bed bed
}

// Fleet starts so many hosts that have those of the images ("redis:8"; else mysql:9.7 and redis:8)
// that the shared engine has. They go with the test, and all that is on them.
func Fleet(t testing.TB, n int, images ...string) []FleetHost {
	t.Helper()
	return fleet(t, n, images)
}

// SSHFleet starts hosts as Fleet does that are reached by SSH, too. A login changes nothing of this machine.
func SSHFleet(t testing.TB, n int, images ...string) []FleetHost {
	t.Helper()
	return fleet(t, n, images, "BERTH_FLEET_SSHD=yes")
}

// SmallFleet starts hosts as Fleet does whose engines keep their data on a disk of so many MiB, in memory.
func SmallFleet(t testing.TB, n, megabytes int, images ...string) []FleetHost {
	t.Helper()
	return fleet(t, n, images, fmt.Sprintf("BERTH_FLEET_DATA=%dm", megabytes))
}

func fleet(t testing.TB, n int, images []string, settings ...string) []FleetHost {
	t.Helper()
	Needs(t, Hosts)
	b := newBed(t, "fleet.sh", "BERTH_FLEET")
	b.settings = append(b.settings, settings...)
	if len(images) > 0 {
		b.settings = append(b.settings, "BERTH_FLEET_IMAGES="+strings.Join(images, " "))
	}
	out := b.must(t, "up", fmt.Sprint(n))
	var hosts []FleetHost
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) != 4 {
			t.Fatalf("the fleet says %q", line)
		}
		hosts = append(hosts, FleetHost{Name: fields[0], Endpoint: fields[1], Address: fields[2], Folder: fields[3], bed: b})
	}
	return hosts
}

// Docker runs the docker command on the host's engine.
func (h FleetHost) Docker(ctx context.Context, args ...string) (string, error) {
	return run(ctx, "docker", append([]string{"--host", h.Endpoint}, args...)...)
}

// BareMachine is a Debian machine without Docker, of one test's own: sshd is all that runs. Docker can
// be installed with apt-get, from packages that it has already, and run by hand.
type BareMachine struct {
	Address  string
	Port     int
	User     string
	Password string
}

// Machine starts a bare machine, which goes with the test.
func Machine(t testing.TB) BareMachine {
	t.Helper()
	Needs(t, Hosts)
	address, password, found := strings.Cut(newBed(t, "machine.sh", "BERTH_MACHINE").must(t, "up"), " ")
	if !found {
		t.Fatalf("the machine says %q", address)
	}
	return BareMachine{Address: address, Port: 22, User: "root", Password: password}
}

// bed is a test bed that a script makes.
type bed struct {
	script   string
	settings []string
}

// newBed names a test bed, which goes with the test even when it did not come up, or with the next
// test bed of anybody when this process was killed.
func newBed(t testing.TB, script, setting string) bed {
	t.Helper()
	root, err := repositoryRoot()
	if err != nil {
		t.Fatal(err)
	}
	b := bed{script: filepath.Join(root, "scripts", script), settings: []string{
		fmt.Sprintf("%s=t%d-%s", setting, os.Getpid(), strings.ToLower(rand.Text()[:6])),
		fmt.Sprintf("%s_OWNER=%d", setting, os.Getpid()),
	}}
	t.Cleanup(func() {
		if _, err := b.run(context.Background(), "down"); err != nil { //nolint:usetesting // the test's own context has ended
			t.Errorf("the test bed is not gone: %v", err)
		}
	})
	return b
}

func (b bed) must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := b.run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (b bed) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, bedLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.script, args...)
	cmd.Env = append(CleanEnvironment(), b.settings...)
	cmd.WaitDelay = time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("scripts/%s %s: %w: %s", filepath.Base(b.script), strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// repositoryRoot is above the package's folder, in which tests run.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			err = errors.New("the test does not run in a folder of the repository")
		}
		dir = above
	}
	return "", err
}
