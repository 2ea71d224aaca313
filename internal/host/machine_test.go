package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/secret"
)

// local is a Shell on this machine, with files of another one below root and commands that do
// nothing in its PATH first.
type local struct {
	t           *testing.T
	shell       []string
	root, bin   string
	home, trace string
	path        string // PATH; empty: bin, and this machine's
}

// shells are those that machines have as sh: dash and bash, and busybox on small ones.
func shells(t *testing.T, run func(*testing.T, *local)) {
	for _, shell := range [][]string{{"sh"}, {"dash"}, {"bash", "--posix"}, {"busybox", "sh"}} {
		if _, err := exec.LookPath(shell[0]); err != nil && shell[0] != "sh" {
			continue // sh is on every machine; the others are tried where they are
		}
		t.Run(shell[0], func(t *testing.T) {
			folder := t.TempDir()
			l := &local{t: t, shell: shell, root: filepath.Join(folder, "root"), bin: filepath.Join(folder, "bin"), home: filepath.Join(folder, "home"), trace: filepath.Join(folder, "trace")}
			for _, f := range []string{l.root, l.bin, l.home} {
				if err := os.Mkdir(f, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			run(t, l)
		})
	}
}

func (l *local) Run(ctx context.Context, script string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, l.shell[0], append(append(slices.Clone(l.shell[1:]), "-s", "--"), args...)...)
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = []string{"PATH=" + cmp.Or(l.path, l.bin+":/usr/sbin:/usr/bin:/sbin:/bin"), "HOME=" + l.home, "BERTH_ROOT=" + l.root, "TRACE=" + l.trace}
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		return out.String(), &ScriptError{Status: exit.ExitCode(), Said: lines[len(lines)-1]}
	}
	if said.Len() > 0 {
		l.t.Errorf("the script complains: %s", said.String())
	}
	return out.String(), err
}

func (l *local) Close() error { return nil }

// put writes a file of the machine.
func (l *local) put(path, text string) {
	l.t.Helper()
	path = filepath.Join(l.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

func (l *local) get(path string) string {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.root, path))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(text)
}

// command puts one in PATH that notes how it is called, and does what the text says.
func (l *local) command(name, text string) {
	l.t.Helper()
	text = "#!/bin/sh\necho \"${0##*/} $*\" >>\"$TRACE\"\n" + text + "\n"
	if err := os.WriteFile(filepath.Join(l.bin, name), []byte(text), 0o755); err != nil {
		l.t.Fatal(err)
	}
}

// folder makes one of the machine, and gives its path here.
func (l *local) folder(path string) string {
	l.t.Helper()
	path = filepath.Join(l.root, path)
	if err := os.MkdirAll(path, 0o755); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// link has a command of this machine in bin, too.
func (l *local) link(name string) {
	l.t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		err = os.Symlink(path, filepath.Join(l.bin, name))
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *local) called() string {
	text, err := os.ReadFile(l.trace)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.t.Fatal(err)
	}
	return string(text)
}

const testKind, testKey = "ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"

// Berth's line is added and removed; everything else in the file stays.
func TestKeys(t *testing.T) {
	ours := testKind + " " + testKey
	for name, c := range map[string]struct{ before, with, without string }{
		"empty":            {"", ours + " berth\n", ""},
		"others":           {"# one\nssh-rsa AAAAB3 other \\n %s\n\n", "# one\nssh-rsa AAAAB3 other \\n %s\n\n" + ours + " berth\n", "# one\nssh-rsa AAAAB3 other \\n %s\n\n"},
		"no final newline": {"ssh-rsa AAAAB3 x", "ssh-rsa AAAAB3 x\n" + ours + " berth\n", "ssh-rsa AAAAB3 x\n"},
		"there":            {ours + " an older comment\nssh-rsa A", ours + " an older comment\nssh-rsa A", "ssh-rsa A\n"},
		"with options":     {`from="10.0.0.0/8, x",no-pty ` + ours + "\r\n", `from="10.0.0.0/8, x",no-pty ` + ours + "\r\n", ""},
		"in a comment":     {"#" + ours + "\n  # " + ours + "\n", "#" + ours + "\n  # " + ours + "\n" + ours + " berth\n", "#" + ours + "\n  # " + ours + "\n"},
		"twice":            {ours + "\nssh-rsa A * ?\n" + ours + " x\n", ours + "\nssh-rsa A * ?\n" + ours + " x\n", "ssh-rsa A * ?\n"},
		"a longer one":     {ours + "x\n", ours + "x\n" + ours + " berth\n", ours + "x\n"},
	} {
		t.Run(name, func(t *testing.T) {
			shells(t, func(t *testing.T, l *local) {
				file := filepath.Join(l.home, ".ssh", "authorized_keys")
				if err := os.Mkdir(filepath.Dir(file), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(c.before), 0o664); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					l.key(InstallKey, c.with)
				}
				for range 2 {
					l.key(RemoveKey, c.without)
				}
				if left, err := filepath.Glob(file + "?*"); err != nil || len(left) > 0 {
					t.Errorf("%v is left, %v", left, err)
				}
			})
		})
	}
}

// key adds or removes the key, and compares what is in the file then.
func (l *local) key(do func(context.Context, Shell, string) error, want string) {
	l.t.Helper()
	if err := do(l.t.Context(), l, testKind+" "+testKey+" berth"); err != nil {
		l.t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(l.home, ".ssh", "authorized_keys"))
	if err != nil || string(text) != want {
		l.t.Fatalf("%q, %v; want %q", text, err, want)
	}
}

func TestKeyFiles(t *testing.T) {
	shells(t, func(t *testing.T, l *local) {
		folder, file := filepath.Join(l.home, ".ssh"), filepath.Join(l.home, ".ssh", "authorized_keys")
		if err := RemoveKey(t.Context(), l, testKind+" "+testKey); err != nil {
			t.Fatal(err)
		}
		l.key(InstallKey, testKind+" "+testKey+" berth\n")
		for path, want := range map[string]os.FileMode{folder: 0o700, file: 0o600} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
		}
		l.key(RemoveKey, "")
		// One that is a link stays one.
		real := filepath.Join(l.home, "kept", "keys")
		if err := errors.Join(os.Remove(file), os.Mkdir(filepath.Dir(real), 0o700), os.Symlink("../kept/keys", file)); err != nil {
			t.Fatal(err)
		}
		l.key(InstallKey, testKind+" "+testKey+" berth\n")
		if at, err := os.Readlink(file); err != nil || at != "../kept/keys" {
			t.Errorf("%q, %v", at, err)
		}
		if _, err := os.Stat(real); err != nil {
			t.Error(err)
		}
	})
}

func TestNoKeys(t *testing.T) {
	for _, line := range []string{"", "x", "ssh-ed25519", "ssh-ed25519 not_base64", testKind + " " + testKey + " a\nssh-rsa B", testKind + " " + testKey + "\nssh-rsa " + testKey,
		`command="x" ` + testKind + " " + testKey, testKind + "  " + testKey, testKind + " " + testKey + " \x1b[2J", "# " + testKey} {
		if err := InstallKey(t.Context(), nil, line); fault.CodeOf(err) != fault.CodeInvalid {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestLoginIsNotShown(t *testing.T) {
	l := Login{Address: "h:22", User: "u", Password: secret.New("topsecret"), Key: secret.New("topsecret")}
	if text := fmt.Sprintf("%v %+v %#v %s", l, l, l, l); strings.Contains(text, "topsecret") {
		t.Error(text)
	}
}

func TestScriptError(t *testing.T) {
	for want, e := range map[string]ScriptError{
		"exit status 3: gone":    {Status: 3, Said: "gone"},
		"SIGTERM":                {Status: -1, Signal: "TERM"},
		"without an exit":        {Status: -1},
		"more than 1048576":      {Status: -1, TooLarge: true},
		"script ended with exit": {Status: 1},
	} {
		if !strings.Contains(e.Error(), want) {
			t.Errorf("%q does not say %q", e.Error(), want)
		}
	}
}
