package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os/exec"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/authority"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// unit runs a workload by plain Docker commands, under the restrictions that the real
// runtime sets: read-only, no capabilities, no new privileges, not root.
type unit struct {
	t         *testing.T
	engine    instance.Engine
	inst      instance.Instance
	cred      instance.Credentials
	work      host.Workload
	container string
}

const howToGet = "run scripts/docker.sh and scripts/images.sh"

// cryptoGenerator makes real passwords.
type cryptoGenerator struct{}

func (cryptoGenerator) Password(n int) secret.Secret {
	return secret.New((rand.Text() + rand.Text())[:n])
}
func (cryptoGenerator) SigningSecret() secret.Secret { return secret.Secret{} }

// docker runs a command and fails the test where it fails.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	needsDocker(t)
	out, err := tryDocker(nil, args...)
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func tryDocker(stdin []byte, args ...string) (string, error) {
	cmd := exec.Command("docker", args...) //nolint:gosec // a test with its own arguments
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// runDocker runs a command whose outputs are told apart.
func runDocker(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	needsDocker(t)
	cmd := exec.CommandContext(t.Context(), "docker", args...) //nolint:gosec // a test with its own arguments
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &said
	err = cmd.Run()
	return out.String(), said.String(), err
}

// localImage gives the first image that is here.
func localImage(t *testing.T, images []string) string {
	t.Helper()
	needsDocker(t)
	if out, err := tryDocker(nil, "version", "--format", "{{.Server.Version}}"); err != nil {
		t.Fatalf("no Docker engine answers (%s); %s", out, howToGet)
	}
	for _, image := range images {
		if _, err := tryDocker(nil, "image", "inspect", image); err == nil {
			return image
		}
	}
	t.Fatalf("none of %v is here; %s", images, howToGet)
	return ""
}

// create makes everything but does not start it.
func create(t *testing.T, name, version, plan string, given map[string]any) *unit {
	t.Helper()
	return createOn(t, "", name, version, plan, given)
}

// createOn is the same on another image.
func createOn(t *testing.T, image, name, version, plan string, given map[string]any) *unit {
	t.Helper()
	return createFor(t, newInstance(t, find(t, name), version, plan, given), image)
}

// createFor is the same for any instance.
func createFor(t *testing.T, inst instance.Instance, image string) *unit {
	t.Helper()
	e := find(t, inst.Spec.Engine)
	u := &unit{t: t, engine: e, inst: inst}
	v, _ := e.Describe().Version(inst.Spec.Version)
	if image == "" {
		image = localImage(t, v.Images)
	}
	u.inst.Status.Port = freePort(t)
	if u.inst.Spec.Ports = e.Ports(inst.Spec.RequireTLS); u.inst.Spec.Ports > 1 {
		u.inst.Status.TLSPort = freePort(t)
	}
	u.cred = e.NewCredentials(u.inst, cryptoGenerator{})
	u.certify(theCA().Until())
	var err error
	if u.work, err = e.Workload(u.inst, u.cred); err != nil {
		t.Fatal(err)
	}
	if maker, ok := e.(instance.Keymaker); ok {
		keys, err := maker.NewKeys()
		if err != nil {
			t.Fatal(err)
		}
		u.work.Files = append(u.work.Files, keys...)
	}
	if seeder, ok := e.(instance.Seeder); ok {
		u.work.Files = append(u.work.Files, seeder.Seeds()...)
	}
	volume := docker(t, "volume", "create")
	t.Cleanup(func() { _, _ = tryDocker(nil, "volume", "rm", volume) })

	r := u.work.Resources
	args := []string{
		"create", "--init", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", u.work.User,
		"--volume", volume + ":" + u.work.DataPath, "--memory", fmt.Sprint(r.MemoryBytes), "--memory-swap", fmt.Sprint(r.MemoryBytes),
		"--cpus", fmt.Sprintf("%.3f", float64(r.CPUMillis)/1000), "--pids-limit", fmt.Sprint(u.work.PidsLimit),
		"--ulimit", "core=0",
		"--publish", fmt.Sprintf("127.0.0.1:%d:%d", u.inst.Status.Port, u.work.Ports[0].Container),
		"--entrypoint", u.work.Command[0],
	}
	if u.work.FileBytes > 0 {
		args = append(args, "--ulimit", fmt.Sprint("fsize=", u.work.FileBytes))
	}
	if len(u.work.Ports) > 1 {
		args = append(args, "--publish", fmt.Sprintf("127.0.0.1:%d:%d", u.inst.Status.TLSPort, u.work.Ports[1].Container))
	}
	for at, bytes := range u.work.Scratch {
		args = append(args, "--tmpfs", fmt.Sprintf("%s:size=%d,mode=1777", at, bytes))
	}
	u.container = docker(t, append(append(args, image), u.work.Command[1:]...)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(tryDocker(nil, "inspect", "--format", "{{json .State}}", u.container))
			t.Log(u.logs())
		}
		_, _ = tryDocker(nil, "rm", "--force", u.container)
	})
	if out, err := tryDocker(archive(t, u.work), "cp", "-", u.container+":"+u.work.DataPath); err != nil {
		t.Fatalf("docker cp: %v: %s", err, out)
	}
	return u
}

// certify gives the server an identity.
func (u *unit) certify(until time.Time) {
	u.t.Helper()
	u.inst.Status.CertifiedUntil = until
	var err error
	u.cred.Identity, err = theCA().Certify(authority.Subject{Name: string(u.inst.ID), Address: u.inst.Status.Address, Secret: u.cred.AdminPassword, Until: until})
	if err != nil {
		u.t.Fatal(err)
	}
}

// archive packs the files below DataPath, with the folders they are in and DataPath
// itself, as serverUser's.
func archive(t *testing.T, w host.Workload) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	add := func(h tar.Header, content string) {
		h.Uid, h.Gid, h.Size = 999, 999, int64(len(content))
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	made := map[string]bool{}
	for _, f := range w.Files {
		name := "." + strings.TrimPrefix(f.Path, w.DataPath)
		for _, dir := range []string{".", path.Dir(name)} {
			if !made[dir] {
				made[dir] = true
				add(tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, "")
			}
		}
		add(tar.Header{Name: name, Mode: int64(f.Mode)}, f.Content.Reveal())
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// deploy creates and starts, waits until it can be used, and says how long it took.
func deploy(t *testing.T, name, version, plan string, given map[string]any) *unit {
	t.Helper()
	u := create(t, name, version, plan, given)
	began := time.Now()
	u.start()
	u.ready()
	t.Logf("%s %s %s: start to usable %s", name, version, plan, time.Since(began).Round(time.Millisecond))
	return u
}

// maker is a way to an instance that can be used.
type maker func(t *testing.T, name, version, plan string, given map[string]any) *unit

// makers are all of them. Whatever holds for an instance that was started for its
// tenant holds for one that was adopted.
var makers = map[string]maker{"deployed": deploy, "adopted": adopted}

// adopted starts a server for nobody, and gives it to a tenant.
func adopted(t *testing.T, name, version, plan string, given map[string]any) *unit {
	t.Helper()
	return adoptedFor(t, name, version, plan, given, false)
}

// adoptedFor may have the tenant require TLS.
func adoptedFor(t *testing.T, name, version, plan string, given map[string]any, requireTLS bool) *unit {
	t.Helper()
	inst := newInstance(t, find(t, name), version, plan, nil)
	inst.Tenant, inst.Name = tenant.Nobody, "ins-01test"
	u := createFor(t, inst, "")
	u.start()
	u.ready()
	began := time.Now()
	warm := u.cred.Password
	spec, status := u.inst.Spec, u.inst.Status
	u.inst = newInstance(t, u.engine, version, plan, given)
	u.inst.Spec.Ports, u.inst.Spec.RequireTLS, u.inst.Status = spec.Ports, requireTLS, status
	u.cred = u.engine.NewCredentials(u.inst, cryptoGenerator{})
	u.cred.WarmPassword = warm
	u.certify(status.CertifiedUntil)
	var err error
	if u.work, err = u.engine.Workload(u.inst, u.cred); err != nil {
		t.Fatal(err)
	}
	docker(t, "update", "--pids-limit", fmt.Sprint(u.work.PidsLimit), u.container)
	if out, err := tryDocker(archive(t, u.work), "cp", "-", u.container+":"+u.work.DataPath); err != nil {
		t.Fatalf("docker cp: %v: %s", err, out)
	}
	said := time.Now()
	if err := u.engine.(instance.Adopter).Adopt(t.Context(), u.inst, u.cred); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %s: adopted in %s, %s of that by what was said to the server", name, version, time.Since(began).Round(time.Millisecond), time.Since(said).Round(time.Millisecond))
	if err := u.probe(); err != nil {
		t.Fatalf("adopted, it cannot be used: %v", err)
	}
	old := u.cred
	old.Password = warm
	if err := u.engine.Probe(t.Context(), u.inst, old); err == nil {
		t.Error("the password of before is good still")
	}
	return u
}

func (u *unit) start() { u.t.Helper(); docker(u.t, "start", u.container) }

// stop ends it as the runtime would, and says with which exit code.
func (u *unit) stop() string {
	u.t.Helper()
	docker(u.t, "stop", "--time", fmt.Sprint(int(u.work.StopGrace.Seconds())), u.container)
	return docker(u.t, "inspect", "--format", "{{.State.ExitCode}}", u.container)
}

func (u *unit) logs() string {
	out, _ := tryDocker(nil, "logs", "--tail", "40", u.container)
	return out
}

// exec runs a command inside, and gives what it wrote, and whether it failed.
func (u *unit) exec(args ...string) (string, error) {
	return tryDocker(nil, append([]string{"exec", u.container}, args...)...)
}

// has reports whether a path is there, whether it runs or not.
func (u *unit) has(name string) bool {
	_, err := tryDocker(nil, "cp", u.container+":"+name, "-")
	return err == nil
}

func (u *unit) probe() error {
	ctx, cancel := context.WithTimeout(u.t.Context(), 5*time.Second)
	defer cancel()
	return u.engine.Probe(ctx, u.inst, u.cred)
}

// ready probes until it succeeds.
func (u *unit) ready() {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := u.probe()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			u.t.Fatalf("not usable after a minute: %v", err)
		case <-tick.C:
		}
	}
}

// answers waits until the server takes the connection's credentials.
func (u *unit) answers(db *sql.DB) {
	u.t.Helper()
	u.awaits(db.PingContext)
}

// connection takes one of the server's connections, as soon as one is free: it lets go of those
// that were closed in its own time.
func (u *unit) connection(db *sql.DB) (c *sql.Conn) {
	u.t.Helper()
	u.awaits(func(context.Context) (err error) {
		c, err = db.Conn(u.t.Context()) //nolint:contextcheck // it outlives the question
		return err
	})
	return c
}

// awaits asks until the answer is good, for a minute.
func (u *unit) awaits(ask func(context.Context) error) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			u.t.Fatalf("it does not answer: %v", err)
		case <-tick.C:
		}
	}
}

// refusesWrongPassword tries one, and looks at what the error says.
func (u *unit) refusesWrongPassword() {
	u.t.Helper()
	wrong := u.cred
	wrong.Password = secret.New("WrongSecret0123456789")
	err := u.engine.Probe(u.t.Context(), u.inst, wrong)
	if fault.CodeOf(err) != fault.CodeProbeFailed {
		u.t.Errorf("a wrong password gave %v", err)
		return
	}
	if !strings.Contains(err.Error(), "logging in") || strings.Contains(err.Error(), "WrongSecret") {
		u.t.Errorf("the error is %v", err)
	}
}

// hidesSecrets looks for the passwords where anybody with Docker can see.
func (u *unit) hidesSecrets() {
	u.t.Helper()
	seen := docker(u.t, "inspect", u.container) + u.logs()
	for _, s := range []secret.Secret{u.cred.Password, u.cred.AdminPassword} {
		if !s.Empty() && strings.Contains(seen, s.Reveal()) {
			u.t.Error("docker inspect or docker logs shows a password")
		}
	}
}

// freePort finds one that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		n, err := rand.Int(rand.Reader, big.NewInt(1000))
		if err != nil {
			t.Fatal(err)
		}
		port := 19000 + int(n.Int64())
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return port
		}
	}
	t.Fatal(errors.New("no free port from 19000 to 19999"))
	return 0
}
