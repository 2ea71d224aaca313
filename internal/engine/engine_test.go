package engine

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

var update = flag.Bool("update", false, "write the golden files anew")

// fakeGenerator gives the same secrets every time: "aaa…", "bbb…".
type fakeGenerator struct{ calls int }

func (g *fakeGenerator) Password(n int) secret.Secret {
	letter := "abcdefgh"[g.calls : g.calls+1]
	g.calls++
	return secret.New(strings.Repeat(letter, n))
}

func (g *fakeGenerator) SigningSecret() secret.Secret { return secret.New("whsec_fake") }

// instance gives one of the plan and parameters, as the domain would have it.
func newInstance(t *testing.T, e instance.Engine, version, plan string, given map[string]any) instance.Instance {
	t.Helper()
	info := e.Describe()
	p, ok := info.Plan(plan)
	if !ok {
		t.Fatalf("no plan %q", plan)
	}
	v, ok := info.Version(version)
	if !ok {
		t.Fatalf("no version %q", version)
	}
	params, wrong := info.ParseParameters(given)
	params = e.Complete(params, p.Resources)
	wrong = append(wrong, e.Check(params, p.Resources)...)
	if len(wrong) > 0 {
		t.Fatalf("parameters: %v", wrong)
	}
	return instance.Instance{
		ID: "ins_01TEST", Tenant: tenant.Default, Spec: instance.Spec{Engine: info.Name, Version: v.Name, Plan: p.Name, Resources: p.Resources, Parameters: params}, Name: "shop-a",
		Fence: 7, Status: instance.Status{Address: "127.0.0.1", Port: 20001}, CreatedAt: time.Date(2026, 11, 21, 3, 4, 5, 0, time.UTC),
	}
}

func find(t *testing.T, name string) instance.Engine {
	t.Helper()
	e, err := Catalog(Config{}).Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path) //nolint:gosec // one of our own
	if err != nil {
		t.Fatalf("%v; make it with: go test ./internal/engine -update", err)
	}
	if got != string(want) {
		t.Errorf("%s differs; look at it with: go test ./internal/engine -update && git diff\n%s", path, got)
	}
}

// describe writes a workload with everything in it, secrets too.
func describe(w host.Workload) string {
	var b strings.Builder
	fmt.Fprintf(&b, "instance %s of %s, engine %s, fence %d\nimage %s\ncommand %q\nuser %s\n",
		w.Unit, w.Tenant, w.Engine, w.Fence, w.Image, w.Command, w.User)
	fmt.Fprintf(&b, "cpu %d, memory %d, disk %d, pids %d\nports %+v\ndata %s\nscratch %v\nstop grace %s\n",
		w.Resources.CPUMillis, w.Resources.MemoryBytes, w.Resources.DiskBytes, w.PidsLimit, w.Ports, w.DataPath, w.Scratch, w.StopGrace)
	for _, f := range w.Files {
		fmt.Fprintf(&b, "\n--- %s %04o\n%s", f.Path, f.Mode, f.Content.Reveal())
	}
	return b.String()
}

func TestWorkloadGolden(t *testing.T) {
	for _, c := range []struct {
		file, engine, version, plan string
		given                       map[string]any
	}{
		{"mysql-small.txt", "mysql", "9.7", "small", nil},
		{"mysql-medium.txt", "mysql", "9.7", "medium", nil},
		{"mysql-large-latin1.txt", "mysql", "9.7", "large", map[string]any{
			"charset": "latin1", "binlog_format": "mixed", "max_connections": 50, "innodb_lock_wait_timeout": 5, "wait_timeout": 600,
		}},
		{"mysql-tls.txt", "mysql", "9.7", "small", nil},
		{"mysql-require-tls.txt", "mysql", "9.7", "small", nil},
		{"redis-tls.txt", "redis", "8", "small", nil},
		{"redis-require-tls.txt", "redis", "8", "small", nil},
		{"redis-8-small.txt", "redis", "8", "small", nil},
		{"redis-7-large.txt", "redis", "7", "large", map[string]any{
			"maxmemory": "64mb", "maxmemory_policy": "allkeys-lru", "maxclients": 50, "appendfsync": "always",
		}},
	} {
		t.Run(c.file, func(t *testing.T) {
			e := find(t, c.engine)
			inst := newInstance(t, e, c.version, c.plan, c.given)
			cred := e.NewCredentials(inst, &fakeGenerator{})
			if strings.Contains(c.file, "tls") {
				inst.Spec.RequireTLS = strings.Contains(c.file, "require")
				if inst.Spec.Ports = e.Ports(inst.Spec.RequireTLS); inst.Spec.Ports > 1 {
					inst.Status.TLSPort = 20002
				}
				inst.Status.CertifiedUntil = inst.CreatedAt.AddDate(1, 0, 0)
				cred.Identity = authority.Identity{CA: "the authority's certificate\n", Certificate: "its certificate\n", Key: secret.New("its key\n")}
			}
			w, err := e.Workload(inst, cred)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, c.file, describe(w))
			again, err := e.Workload(inst, cred)
			if err != nil || describe(again) != describe(w) {
				t.Errorf("the same instance gave another workload (%v)", err)
			}
			for _, f := range w.Files {
				if !strings.HasPrefix(f.Path, w.DataPath+"/") {
					t.Errorf("%s is outside %s", f.Path, w.DataPath)
				}
			}
		})
	}
}

func TestConnection(t *testing.T) {
	for _, c := range []struct{ engine, uri, cli, file, database string }{
		{
			"mysql", "mysql://shop_a:" + strings.Repeat("a", 32) + "@127.0.0.1:20001/shop_a",
			"mysql -h 127.0.0.1 -P 20001 -u shop_a -p" + strings.Repeat("a", 32) + " --default-character-set=utf8mb4 shop_a", "my.cnf", "shop_a",
		},
		{
			"redis", "redis://default:" + strings.Repeat("a", 32) + "@127.0.0.1:20001/0",
			"redis-cli -u redis://default:" + strings.Repeat("a", 32) + "@127.0.0.1:20001/0", "redis.conf", "",
		},
	} {
		t.Run(c.engine, func(t *testing.T) {
			e := find(t, c.engine)
			inst := newInstance(t, e, "", "", nil)
			cred := e.NewCredentials(inst, &fakeGenerator{})
			got := e.Connection(inst, cred)
			if got.URI.Reveal() != c.uri || got.CLI.Reveal() != c.cli || got.Database != c.database {
				t.Errorf("got %s\n%s\n%s", got.URI.Reveal(), got.CLI.Reveal(), got.Database)
			}
			if got.Host != "127.0.0.1" || got.Port != 20001 || got.Username != cred.Username || got.Password != cred.Password {
				t.Errorf("got %+v", got)
			}
			w, err := e.Workload(inst, cred)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(w.Files, func(f host.File) bool { return strings.HasSuffix(f.Path, "/"+c.file) })
			if i < 0 || got.File.Name != c.file || got.File.Content != w.Files[i].Content.Reveal() {
				t.Errorf("the file %s shown is not the one it runs with", got.File.Name)
			}
			if strings.Contains(got.File.Content, "aaa") || strings.Contains(got.File.Content, "#") && c.engine == "redis" && strings.Contains(got.File.Content, "user ") {
				t.Errorf("the file shown holds a secret:\n%s", got.File.Content)
			}
		})
	}
}

func TestImages(t *testing.T) {
	for _, c := range []struct {
		config Config
		engine string
		want   string
	}{
		{Config{}, "mysql", "9.7=[mysql:9.7 berth/mysql:9.7]"},
		{Config{}, "redis", "8=[redis:8 berth/redis:8] 7=[redis:7 berth/redis:7]"},
		{Config{RedisImage: "r.example:5000/redis:{version}-alpine"}, "redis", "8=[r.example:5000/redis:8-alpine] 7=[r.example:5000/redis:7-alpine]"},
		{Config{MySQLImage: "r.example/mysql@sha256:abc"}, "mysql", "9.7=[r.example/mysql@sha256:abc]"},
	} {
		e, err := Catalog(c.config).Find(c.engine)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range e.Describe().Versions {
			got = append(got, fmt.Sprintf("%s=%v", v.Name, v.Images))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: got %v, want %s", c.config, got, c.want)
		}
	}
}

func TestPlans(t *testing.T) {
	for _, e := range Catalog(Config{}) {
		info := e.Describe()
		for i, name := range []string{"small", "medium", "large"} {
			p := info.Plans[i]
			if p.Name != name {
				t.Errorf("%s: plan %d is %s", info.Name, i, p.Name)
			}
			low, high, r := info.Limits.Min, info.Limits.Max, p.Resources
			if r.CPUMillis < low.CPUMillis || r.CPUMillis > high.CPUMillis || r.MemoryBytes < low.MemoryBytes ||
				r.MemoryBytes > high.MemoryBytes || r.DiskBytes < low.DiskBytes || r.DiskBytes > high.DiskBytes {
				t.Errorf("%s: plan %s is outside the limits", info.Name, name)
			}
		}
	}
}

func TestWorkloadRefuses(t *testing.T) {
	for _, e := range Catalog(Config{}) {
		inst := newInstance(t, e, "", "", nil)
		cred := e.NewCredentials(inst, &fakeGenerator{})
		bad := inst
		bad.Spec.Version = "1.0"
		if _, err := e.Workload(bad, cred); fault.CodeOf(err) != fault.CodeInvalid {
			t.Errorf("%s: unknown version: %v", inst.Spec.Engine, err)
		}
		cred.Password = secret.New("x' OR #")
		_, err := e.Workload(inst, cred)
		if fault.CodeOf(err) != fault.CodeInternal || strings.Contains(err.Error(), "OR #") {
			t.Errorf("%s: a password that ends a quotation: %v", inst.Spec.Engine, err)
		}
	}
}
