package fleet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

// bed is a pool of one host, which is reached by SSH. One worker at a time is at work.
type bed struct {
	*pool
	host  testenv.FleetHost
	names int
}

// leftLimit is how soon after the end of a job nothing may be left that is not in the books: what a call
// does late is removed by a sweep, after the grace period.
const leftLimit = 45 * time.Second

// The host's name in the pool.
const hostName = "s1"

func newBed(t *testing.T) *bed {
	t.Helper()
	program, err := breakable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{host: testenv.SSHFleet(t, 1, "redis:8")[0]}
	image, err := b.host.Docker(t.Context(), "images", "--format", "{{.Repository}}:{{.Tag}}")
	if err != nil {
		t.Fatal(err)
	}
	// An import has the images of all engines there, and no MySQL is made here.
	b.pool = newPoolOf(t, program, 1, "BERTH_LEASE_TTL=5s", "BERTH_GOLDEN=false", "BERTH_IMAGE_MYSQL="+image)
	return b
}

// operation is a job on the host, or on an instance there.
type operation struct {
	kind  string
	ready func(*bed)         // makes true what the job needs
	begin func(*bed) string  // accepts the job
	right func(*bed, object) // looks at what has become of it
}

// operations are in the order in which a host has them.
var operations = []operation{
	{"host.import", (*bed).absent, (*bed).beginImport, func(b *bed, _ object) {
		if got := b.pool.host(hostName); got.text("state") != "online" || !strings.HasPrefix(got.text("host_key"), "ssh-") {
			b.Errorf("the imported host is %v", got)
		}
	}},
	{"host.inspect", (*bed).present, func(b *bed) string { return b.at("POST", "/inspect").text("id") }, func(*bed, object) {}},
	{"host.drain", (*bed).present, func(b *bed) string { return b.at("POST", "/drain").text("id") }, func(b *bed, _ object) {
		if got := b.pool.host(hostName); got.text("state") != "cordoned" {
			b.Errorf("the drained host is %v", got)
		}
	}},
	{"instance.create", (*bed).present, (*bed).beginCreate, func(b *bed, _ object) {
		for _, inst := range b.instances() {
			if inst.text("state") != "running" {
				b.Errorf("it is %v", inst)
			}
			b.uses(inst)
		}
	}},
	{"instance.delete", (*bed).occupied, (*bed).beginDelete, func(b *bed, _ object) {
		if left := b.instances(); len(left) > 0 {
			b.Errorf("there is still %v", left)
		}
	}},
	{"host.delete", (*bed).empty, func(b *bed) string { return b.at("DELETE", "").text("id") }, func(b *bed, _ object) {
		if got := b.pool.host(hostName); got != nil {
			b.Errorf("the deleted host is %v", got)
		}
		b.left(b.host)
	}},
}

// at makes a request about the host that starts a job.
func (b *bed) at(method, path string) object {
	b.Helper()
	return b.do(method, "/hosts/"+b.pool.host(hostName).text("id")+path, nil, 202)
}

func (b *bed) beginImport() string {
	return b.do("POST", "/hosts?ignore_warnings=true", object{
		"name": hostName, "address": b.host.Address, "user": "root", "password": b.host.Password(b.T), "region": "eu", "zone": "eu-1",
	}, 202).below("job").text("id")
}

func (b *bed) beginCreate() string {
	b.names++
	return b.do("POST", "/storage/redis/instances", object{"name": fmt.Sprintf("i-%d", b.names), "placement": object{"region": "eu"}}, 202).below("job").text("id")
}

func (b *bed) beginDelete() string {
	return b.do("DELETE", "/storage/redis/instances/"+b.instances()[0].text("id"), nil, 202).below("job").text("id")
}

func (b *bed) instances() []object {
	b.Helper()
	return b.do("GET", "/storage/instances?limit=200", nil, 200).items()
}

// present has the host in the pool, and open.
func (b *bed) present() {
	b.Helper()
	if b.pool.host(hostName) == nil {
		b.succeeded(b.beginImport(), 3*time.Minute)
	}
	if b.pool.host(hostName).text("state") == "cordoned" {
		b.do("POST", "/hosts/"+b.pool.host(hostName).text("id")+"/uncordon", nil, 200)
	}
	b.eventually("the host is healthy", time.Minute, func() error { return b.health(hostName, "healthy") })
}

// occupied has one instance on it.
func (b *bed) occupied() {
	b.Helper()
	b.present()
	if len(b.instances()) == 0 {
		b.succeeded(b.beginCreate(), 3*time.Minute)
	}
	for len(b.instances()) > 1 {
		b.succeeded(b.beginDelete(), 2*time.Minute)
	}
}

// empty has nothing on it.
func (b *bed) empty() {
	b.Helper()
	b.present()
	for len(b.instances()) > 0 {
		b.succeeded(b.beginDelete(), 2*time.Minute)
	}
}

// absent has no such host.
func (b *bed) absent() {
	b.Helper()
	if b.pool.host(hostName) == nil {
		return
	}
	b.empty()
	b.succeeded(b.at("DELETE", "").text("id"), 2*time.Minute)
}

// nothingElse fails where the engine has something that is not in the books, and says how long it had.
func (b *bed) nothingElse() time.Duration {
	b.Helper()
	begun := time.Now()
	b.eventually("nothing is on the host but what is in the books", leftLimit, func() error {
		wanted := b.column(testenv.OpenDatabase(b.T, b.database), "SELECT instance_id FROM allocations")
		for _, list := range [][]string{{"ps", "-a", "--format", "{{.Names}}"}, {"volume", "ls", "--format", "{{.Name}}"}} {
			out, err := b.docker(list...)
			if err != nil {
				return err
			}
			names := strings.Fields(out)
			slices.Sort(names)
			for i := range wanted {
				wanted[i] = "berth-" + strings.TrimPrefix(wanted[i], "berth-")
			}
			slices.Sort(wanted)
			if !slices.Equal(names, wanted) {
				return fmt.Errorf("docker %s: %v, in the books are %v", list[0], names, wanted)
			}
		}
		return nil
	})
	return time.Since(begun)
}

func (b *bed) docker(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(b.Context(), 20*time.Second)
	defer cancel()
	return b.host.Docker(ctx, args...)
}

// inMiddle begins the operation, and does something as soon as there is a container that it has made, while
// its worker stands still. An operation that was over before that is begun again, after undo.
func (b *bed) inMiddle(o operation, do, undo func(*bed)) (job string) {
	b.Helper()
	for range 5 {
		o.ready(b)
		there, worker := b.containers(), b.workers[len(b.workers)-1]
		job = o.begin(b)
		for until := time.Now().Add(testenv.Limit(time.Minute)); b.containers() <= there; <-time.After(2 * time.Millisecond) {
			if time.Now().After(until) {
				b.Fatalf("%s has made no container", o.kind)
			}
		}
		worker.Freeze()
		do(b)
		over := b.over(job)
		worker.Continue()
		if !over {
			return job
		}
		if undo != nil {
			undo(b)
		}
	}
	b.Fatalf("%s is over each time before anything can be done in its middle", o.kind)
	return ""
}

// containers counts what the engine keeps of containers on its disk, which takes no time.
func (b *bed) containers() int {
	b.Helper()
	list, err := os.ReadDir(filepath.Join(b.host.Folder, "data", "containers"))
	if err != nil {
		b.Fatal(err)
	}
	return len(list)
}

func (b *bed) over(job string) bool {
	b.Helper()
	state := b.do("GET", "/jobs/"+job, nil, 200).text("state")
	return state == "succeeded" || state == "failed" || state == "canceled"
}

// find gives the operation of the kind.
func find(kind string) operation {
	return operations[slices.IndexFunc(operations, func(o operation) bool { return o.kind == kind })]
}
