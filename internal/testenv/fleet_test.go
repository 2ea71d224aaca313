package testenv_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/internal/testenv"
)

// TestFleet has three hosts while another fleet comes and goes.
func TestFleet(t *testing.T) {
	t.Run("while they are there", func(t *testing.T) {
		t.Run("three", func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			hosts := testenv.Fleet(t, 3, "redis:8")
			t.Logf("three hosts took %s", time.Since(began).Round(time.Millisecond))
			apart(t, hosts)
			back(t, hosts[0], testenv.FleetHost.Stop)
			back(t, hosts[1], testenv.FleetHost.PowerOff)
			hosts[2].Stop(t) // and is left like that
		})
		t.Run("one", func(t *testing.T) {
			t.Parallel()
			apart(t, testenv.Fleet(t, 1, "redis:8"))
		})
	})
	left, _ := filepath.Glob("/var/lib/berth-testbed/t" + strconv.Itoa(os.Getpid()) + "-*")
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/berth-t" + strconv.Itoa(os.Getpid()) + "-*")
	if left = append(left, groups...); len(left) > 0 {
		t.Errorf("there is still %v", left)
	}
}

// apart sees that each engine has an id of its own, and that its container answers at its address.
func apart(t *testing.T, hosts []testenv.FleetHost) {
	t.Helper()
	ids := map[string]bool{}
	for _, h := range hosts {
		told := strings.Fields(onHost(t, h, "info", "--format", "{{.ID}} {{.Name}}"))
		if ids[told[0]] || told[1] != h.Name {
			t.Errorf("%s has id and name %v, others %v", h.Name, told, ids)
		}
		ids[told[0]] = true
		image := strings.Fields(onHost(t, h, "images", "--format", "{{.Repository}}:{{.Tag}}"))[0]
		onHost(t, h, "run", "--detach", "--name", "berth-apart", "--publish", "20000:6379", image, "redis-server", "--protected-mode", "no")
		answers(t, h.Address)
	}
}

// back takes a host away and has it back, with its container.
func back(t *testing.T, h testenv.FleetHost, away func(testenv.FleetHost, testing.TB)) {
	t.Helper()
	away(h, t)
	short, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := h.Docker(short, "version"); err == nil {
		t.Errorf("the engine of %s answers still", h.Name)
	}
	began := time.Now()
	h.Start(t)
	t.Logf("%s was back after %s", h.Name, time.Since(began).Round(time.Millisecond))
	onHost(t, h, "start", "berth-apart")
	answers(t, h.Address)
}

func onHost(t *testing.T, h testenv.FleetHost, args ...string) string {
	t.Helper()
	out, err := h.Docker(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestMachine logs in with the password, and with another one does not.
func TestMachine(t *testing.T) {
	began := time.Now()
	m := testenv.Machine(t)
	t.Logf("the machine took %s", time.Since(began).Round(time.Millisecond))
	login := func(password string) (*ssh.Client, error) {
		return ssh.Dial("tcp", net.JoinHostPort(m.Address, strconv.Itoa(m.Port)), &ssh.ClientConfig{
			User: m.User, Auth: []ssh.AuthMethod{ssh.Password(password)}, Timeout: testenv.Limit(20 * time.Second),
			HostKeyCallback: ssh.InsecureIgnoreHostKey(), // it was made a moment ago, on this machine
		})
	}
	if c, err := login(m.Password + "x"); err == nil {
		_ = c.Close()
		t.Error("it takes another password")
	}
	c, err := login(m.Password)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // nothing depends on it
	session, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := session.CombinedOutput("id -u; . /etc/os-release; echo $ID; command -v dockerd || echo no dockerd; ps -e | wc -l")
	if said := strings.Fields(string(out)); err != nil || len(said) < 4 || strings.Join(said[:4], " ") != "0 debian no dockerd" {
		t.Errorf("it says %q, %v", out, err)
	}
}
