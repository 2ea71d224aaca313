package hosttest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

// Machines is a host.Machines in memory: machines by "host:port", with switches for what goes
// wrong. A machine that nobody has added does not answer.
type Machines struct {
	mu   sync.Mutex
	at   map[string]*Machine
	made int // key pairs
}

var _ host.Machines = (*Machines)(nil)

// Machine is one machine. Its fields are what a test switches; they are changed by Machines.Set.
type Machine struct {
	HostKey  string // that it shows
	Password string // of every user; empty: none is taken
	Away     bool   // it does not answer
	Hang     bool   // it answers nothing until the caller's context ends
	// Cut ends the login in the middle of the script whose text has this in it: the script has had
	// its effect, and nobody is told.
	Cut string
	// Scripts are the answers to scripts, by a text that is in the script or its arguments; the
	// others end with success and say nothing.
	Scripts map[string]ScriptAnswer
	// Inventory is what the machine says of itself; nil: a sound one (SoundInventory).
	Inventory func() string

	keys   []string // that may log in: kind and key
	sent   []string // the passwords that it was sent
	logins int      // that worked
	runs   []string // what was run, as "name argument argument"
}

// ScriptAnswer is what a script comes to.
type ScriptAnswer struct {
	Out string
	Err error
}

// NewMachines makes machines that nobody has added yet.
func NewMachines() *Machines { return &Machines{at: map[string]*Machine{}} }

// Add adds a machine that takes the password, and shows a key of its own.
func (m *Machines) Add(address, password string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at[address] = &Machine{HostKey: publicKey("host key of " + address), Password: password}
}

// Set changes a machine.
func (m *Machines) Set(address string, change func(*Machine)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m.at[address])
}

// SwapHostKey has the machine show another key from now on.
func (m *Machines) SwapHostKey(address string) {
	m.Set(address, func(one *Machine) { one.HostKey = publicKey("swapped " + one.HostKey) })
}

// Keys gives the keys that may log in there, as "kind key".
func (m *Machines) Keys(address string) (keys []string) {
	m.Set(address, func(one *Machine) { keys = slices.Clone(one.keys) })
	return keys
}

// Passwords gives the passwords that the machine was sent.
func (m *Machines) Passwords(address string) (sent []string) {
	m.Set(address, func(one *Machine) { sent = slices.Clone(one.sent) })
	return sent
}

// Runs gives what was run on the machine, in order: the name of the script and its arguments.
func (m *Machines) Runs(address string) (runs []string) {
	m.Set(address, func(one *Machine) { runs = slices.Clone(one.runs) })
	return runs
}

// publicKey makes a line of known_hosts or authorized_keys from a text: always the same one.
func publicKey(seed string) string {
	raw := (seed + strings.Repeat(".", 32))[:32]
	const kind = "ssh-ed25519"
	return kind + " " + base64.StdEncoding.EncodeToString([]byte("\x00\x00\x00\x0b"+kind+raw+fmt.Sprintf("%08x", sum(seed))))
}

func sum(text string) (n uint32) {
	for _, c := range []byte(text) {
		n = n*16777619 ^ uint32(c)
	}
	return n
}

// answering gives the machine as it is now, if it answers.
func (m *Machines) answering(ctx context.Context, address string) (*Machine, error) {
	m.mu.Lock()
	one, there := m.at[address]
	hang := there && one.Hang
	away := !there || one.Away
	m.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, fault.Errorf(fault.CodeHostUnavailable, ctx.Err(), "%s does not answer", address)
	}
	if err := ctx.Err(); err != nil {
		return nil, fault.Errorf(fault.CodeHostUnavailable, err, "%s does not answer", address)
	}
	if away {
		return nil, fault.Errorf(fault.CodeHostUnavailable, nil, "%s: connection refused", address)
	}
	return one, nil
}

// HostKey gives the key that the machine shows.
func (m *Machines) HostKey(ctx context.Context, address string) (string, error) {
	one, err := m.answering(ctx, address)
	if err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return one.HostKey, nil
}

// Shell logs in.
func (m *Machines) Shell(ctx context.Context, l host.Login) (host.Shell, error) {
	if l.HostKey == "" {
		return nil, fault.Errorf(fault.CodeInvalid, nil, "no key is pinned")
	}
	one, err := m.answering(ctx, l.Address)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if one.HostKey != l.HostKey {
		return nil, fault.Errorf(fault.CodeHostKeyChanged, nil, "%s shows another key than the one that is pinned", l.Address)
	}
	byPassword := false
	if !l.Password.Empty() {
		one.sent = append(one.sent, l.Password.Reveal())
		byPassword = one.Password != "" && one.Password == l.Password.Reveal()
	}
	byKey := slices.Contains(one.keys, strings.TrimPrefix(l.Key.Reveal(), "private of "))
	if !byPassword && !byKey {
		// A careless machine may repeat what it was sent.
		return nil, fault.Errorf(fault.CodeLoginRefused, nil, "%s does not let %s in with %s", l.Address, l.User, l.Password.Reveal())
	}
	one.logins++
	return &shell{machines: m, machine: one, address: l.Address}, nil
}

// NewKey makes a key pair whose private part names the public one.
func (m *Machines) NewKey(comment string) (secret.Secret, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.made++
	public := publicKey(fmt.Sprint("key of Berth ", m.made))
	return secret.New("private of " + public), public + " " + comment, nil
}

// shell is a login.
type shell struct {
	machines *Machines
	machine  *Machine
	address  string
}

// The names of the scripts, as Runs and Machine.Scripts have them.
const (
	ScriptInventory  = "inventory"
	ScriptPrepare    = "prepare"
	ScriptInstallKey = "install-key"
	ScriptRemoveKey  = "remove-key"
	ScriptLoop       = "loop"
)

// nameOf tells which of the scripts this is.
func nameOf(script string, args []string) string {
	switch {
	case strings.Contains(script, "fallocate"):
		return ScriptLoop
	case strings.Contains(script, "authorized_keys") && len(args) == 3:
		return ScriptInstallKey
	case strings.Contains(script, "authorized_keys"):
		return ScriptRemoveKey
	case strings.Contains(script, "say inventory 1"):
		return ScriptInventory
	default:
		return ScriptPrepare
	}
}

// Run has the effect of the scripts that Berth has.
func (s *shell) Run(ctx context.Context, script string, args ...string) (string, error) {
	if _, err := s.machines.answering(ctx, s.address); err != nil {
		return "", err
	}
	s.machines.mu.Lock()
	defer s.machines.mu.Unlock()
	one, name := s.machine, nameOf(script, args)
	call := strings.TrimSpace(name + " " + strings.Join(args, " "))
	one.runs = append(one.runs, call)
	out, err := one.run(name, args, call)
	if one.Cut != "" && strings.Contains(call, one.Cut) {
		one.Cut = ""
		return "", fault.Errorf(fault.CodeHostUnavailable, errCut, "%s went away", s.address)
	}
	return out, err
}

var errCut = errors.New("the connection was cut")

func (one *Machine) run(name string, args []string, call string) (string, error) {
	for text, answer := range one.Scripts {
		if strings.Contains(call, text) {
			return answer.Out, answer.Err
		}
	}
	switch name {
	case ScriptInstallKey:
		if key := args[0] + " " + args[1]; !slices.Contains(one.keys, key) {
			one.keys = append(one.keys, key)
		}
	case ScriptRemoveKey:
		key := args[0] + " " + args[1]
		one.keys = slices.DeleteFunc(one.keys, func(k string) bool { return k == key })
	case ScriptInventory:
		if one.Inventory != nil {
			return one.Inventory(), nil
		}
		return SoundInventory(args[1:]...), nil
	case ScriptPrepare:
		return "before=not there\nafter=there\n", nil
	}
	return "", nil
}

// Close logs out.
func (s *shell) Close() error { return nil }

// SoundInventory is what a machine says of itself that all checks pass on, with data disks in the
// folders.
func SoundInventory(disks ...string) string {
	lines := []string{
		"inventory=1", "os=Debian GNU/Linux 13", "kernel=6.12.1", "arch=x86_64", "cpus=8", "memory_bytes=34359738368", "swap_bytes=0",
		fmt.Sprintf("clock_ms=%d", time.Now().UnixMilli()), "user=root", "privilege=root", "docker_socket=accessible", "cgroup=2", "cgroup_memory=yes",
		"virtual=kvm", "nofile_soft=1048576", "nofile_hard=1048576", "nofile_engine=1048576", "hugepages=madvise", "numactl=yes",
		"sysctl.vm.overcommit_memory=1", "sysctl.net.core.somaxconn=4096", "sysctl.fs.file-max=1000000", "sysctl.vm.max_map_count=262144",
		"docker.path=/var/lib/docker", "docker.size=107374182400", "docker.free=96636764160",
	}
	for i, disk := range disks {
		of := fmt.Sprintf("disk.%d.", i)
		lines = append(lines, of+"path="+disk, of+"exists=yes", of+"mount="+disk, of+"device=/dev/vdb", of+"fstype=xfs", of+"options=rw,noatime",
			of+"size=1099511627776", of+"free=1099511627776", of+"rotational=no")
	}
	return strings.Join(append(lines, "end=1"), "\n") + "\n"
}
