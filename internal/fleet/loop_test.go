package fleet

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the tenant's driver
	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/testenv"
)

// TestLoopDisk imports this machine by SSH, with a disk on which each instance has a file system of its
// own. A Redis fills its own, a MySQL beside it does not notice, both outlive a restart of the machine,
// and nothing is left of them when they are deleted.
func TestLoopDisk(t *testing.T) {
	testenv.Needs(t, testenv.Root)
	sshd := testenv.StartSSHD(t)
	// The engine of this machine is to be a host of the pool, so it is not the workers' own.
	p := newPool(t, 1, "BERTH_DOCKER_HOST=unix:///run/berth-no-such-engine.sock", "BERTH_PROBE_EVERY=2s")
	d := newDisk(t)
	sshd.Authorize(t, p.do("GET", "/hosts/key", nil, 200).text("authorized_key"))
	const mib = 1 << 20
	made := p.do("POST", "/hosts?skip_init=true", object{
		"name": "here", "address": "127.0.0.1", "endpoint": "ssh://" + sshd.User + "@" + sshd.Address, "host_key": sshd.HostKey, "region": "eu", "zone": "eu-1",
		"disks": []object{{"path": d.path, "type": "nvme", "capacity": 4096 * mib, "enforcement": "loop"}},
	}, 202)
	p.succeeded(made.below("job").text("id"), 3*time.Minute)
	host := p.host("here").text("id")

	red := p.bounded("redis", object{"memory": 64 * mib, "disk": 256 * mib})
	sql := p.bounded("mysql", object{"cpu": 0.5, "memory": 384 * mib, "disk": 1024 * mib})
	p.refused("POST", "/storage/redis/instances", object{"placement": object{"disk_type": "nvme"}}, "no_capacity")
	disk := p.do("GET", "/hosts/"+host+"/disks", nil, 200).items()[0]
	if used, _ := disk["used"].(float64); used != 2*(64+256+384+1024)*mib {
		p.Errorf("%v is used", used)
	}
	p.refused("PATCH", "/hosts/"+host+"/disks/"+disk.text("id"), object{"enforcement": "none"}, "disk_in_use")
	p.uses(red)
	p.writes(sql, "before")
	p.eventually("both say what bounds them", time.Minute, func() error {
		for _, i := range []object{red, sql} {
			now := p.do("GET", "/storage/instances/"+i.text("id"), nil, 200).below("disk")
			if now.text("bound") != "loop" || now.text("enforcement") != "driver" {
				return fmt.Errorf("%v", now)
			}
		}
		return nil
	})

	if out, err := inside(t, red, "dd", "if=/dev/zero", "of=/data/filler", "bs=1M", "count=2000", "conv=fsync"); err == nil || !strings.Contains(out, "No space left on device") {
		p.Errorf("2000 MiB on 640: %v: %s", err, out)
	}
	p.writes(sql, "while the other is full")
	if out, err := inside(t, red, "rm", "/data/filler"); err != nil {
		p.Fatalf("%v: %s", err, out)
	}

	p.rebooted(d, red, sql)
	p.eventually("the data of both", 2*time.Minute, func() error {
		return errors.Join(p.readsNow(red), p.rows(sql, 2))
	})

	for _, verb := range []string{"restart", "stop", "start"} {
		p.succeeded(p.do("POST", "/storage/redis/instances/"+red.text("id")+"/"+verb, nil, 202).below("job").text("id"), time.Minute)
		p.books()
		if verb == "stop" { // and the machine is restarted meanwhile
			d.unmounted(t, red)
		}
	}
	p.eventually("the data of a server that was stopped", time.Minute, func() error { return p.readsNow(red) })

	d.stray(t, "berth-ins_nobody.img")
	j := p.succeeded(p.do("POST", "/hosts/"+host+"/inspect", nil, 202).text("id"), time.Minute)
	if text := fmt.Sprint(j["steps"]); !strings.Contains(text, "has a file system of ins_nobody, which is not in the books") || strings.Contains(text, "which is not in the books; disk") {
		p.Errorf("an inspection says %s", text)
	}
	d.swept(t, "berth-ins_nobody.img")

	for _, i := range []object{red, sql} {
		p.succeeded(p.do("DELETE", "/storage/"+i.text("engine")+"/instances/"+i.text("id"), nil, 202).below("job").text("id"), 2*time.Minute)
	}
	d.empty(t)
	p.books()
	p.succeeded(p.do("DELETE", "/hosts/"+host, nil, 202).text("id"), 2*time.Minute)
}

// bounded makes an instance on the disk.
func (p *pool) bounded(engine string, size object) object {
	p.Helper()
	a := p.do("POST", "/storage/"+engine+"/instances", object{"name": "bounded-" + engine, "placement": object{"disk_type": "nvme"}, "resources": size}, 202)
	p.succeeded(a.below("job").text("id"), 4*time.Minute)
	return p.do("GET", "/storage/instances/"+a.below("instance").text("id"), nil, 200)
}

// inside runs a command in an instance's container, as its server.
func inside(t *testing.T, instance object, command ...string) (string, error) {
	args := append([]string{"exec", "berth-" + instance.text("id")}, command...)
	out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput() //nolint:gosec // of the test
	return string(out), err
}

// rebooted ends the instances and takes their file systems away, as a restart of the machine does, while
// no worker is there.
func (p *pool) rebooted(d *loopFolder, instances ...object) {
	p.Helper()
	for _, w := range p.workers {
		w.Kill()
	}
	for _, i := range instances {
		if out, err := exec.CommandContext(p.Context(), "docker", "kill", "berth-"+i.text("id")).CombinedOutput(); err != nil { //nolint:gosec // of the test
			p.Fatalf("%v: %s", err, out)
		}
		d.unmounted(p.T, i)
	}
	p.eventually("nothing is attached", time.Minute, func() error {
		if left := append(d.mounts(p.T), d.devices(p.T)...); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
	p.workers = append(p.workers, testenv.Start(p.T, binary, p.settings, "worker"))
}

// unmounted takes the file system of an instance away.
func (d *loopFolder) unmounted(t *testing.T, instance object) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "umount", filepath.Join(d.path, "berth-"+instance.text("id"))).CombinedOutput(); err != nil { //nolint:gosec // of the test
		t.Fatalf("%v: %s", err, out)
	}
}

// readsNow looks once for what uses has written.
func (p *pool) readsNow(instance object) error {
	options, err := redis.ParseURL(p.do("GET", "/storage/redis/instances/"+instance.text("id")+"/config", nil, 200).text("uri"))
	if err != nil {
		return err
	}
	c := redis.NewClient(options)
	defer c.Close() //nolint:errcheck // nothing depends on it
	if v, err := c.Get(p.Context(), "k").Result(); err != nil || v != "v" {
		return fmt.Errorf("the Redis has %q, %w", v, err)
	}
	return nil
}

func (p *pool) tenantDB(instance object) *sql.DB {
	p.Helper()
	forms := p.do("GET", "/storage/mysql/instances/"+instance.text("id")+"/config", nil, 200).below("forms")
	db, err := sql.Open("mysql", forms.text("dsn"))
	if err != nil {
		p.Fatal(err)
	}
	return db
}

// writes adds a row to a MySQL.
func (p *pool) writes(instance object, text string) {
	p.Helper()
	db := p.tenantDB(instance)
	defer db.Close() //nolint:errcheck // nothing depends on it
	_, made := db.ExecContext(p.Context(), "CREATE TABLE IF NOT EXISTS t (s VARCHAR(100))")
	_, err := db.ExecContext(p.Context(), "INSERT INTO t VALUES (?)", text)
	if err := errors.Join(made, err); err != nil {
		p.Errorf("the MySQL %s: %v", text, err)
	}
}

// rows fails unless a MySQL has so many.
func (p *pool) rows(instance object, want int) error {
	db := p.tenantDB(instance)
	defer db.Close() //nolint:errcheck // nothing depends on it
	var n int
	if err := db.QueryRowContext(p.Context(), "SELECT COUNT(*) FROM t").Scan(&n); err != nil || n != want {
		return fmt.Errorf("the MySQL has %d rows, %w", n, err)
	}
	return nil
}

// loopFolder is a disk of one test's own, whose file systems go with the test.
type loopFolder struct{ path string }

func newDisk(t *testing.T) *loopFolder {
	t.Helper()
	folder, err := os.MkdirTemp("", "loop")
	if err == nil {
		err = os.Chmod(folder, 0o755) //nolint:gosec // servers of other users go through it
	}
	if err != nil {
		t.Fatal(err)
	}
	d := &loopFolder{folder}
	t.Cleanup(func() { // what a failed test has left
		for _, at := range d.mounts(t) {
			for _, command := range []string{"docker rm -f ", "docker volume rm "} {
				_ = exec.Command("sh", "-c", command+filepath.Base(at)).Run() //nolint:gosec // of the test
			}
			_ = exec.Command("umount", at).Run() //nolint:gosec // below the test's own folder
		}
		_ = os.RemoveAll(folder)
	})
	return d
}

// mounts gives where something is mounted below the disk.
func (d *loopFolder) mounts(t *testing.T) (at []string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); strings.HasPrefix(fields[4], d.path+"/") {
			at = append(at, fields[4])
		}
	}
	return at
}

// devices gives the files of the disk that a loop device has.
func (d *loopFolder) devices(t *testing.T) (files []string) {
	t.Helper()
	all, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if file, err := os.ReadFile(name); err == nil && strings.HasPrefix(string(file), d.path+"/") { //nolint:gosec // of the kernel
			files = append(files, string(file))
		}
	}
	return files
}

func (d *loopFolder) stray(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.path, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (d *loopFolder) swept(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(d.path, name)); err != nil {
		t.Fatal(err)
	}
}

// empty fails where anything is left but the disk's mark.
func (d *loopFolder) empty(t *testing.T) {
	t.Helper()
	files, err := os.ReadDir(d.path)
	if err != nil || len(files) != 1 || files[0].Name() != ".berth" || len(d.mounts(t)) > 0 || len(d.devices(t)) > 0 {
		t.Errorf("left: %v, mounts %v, devices %v, %v", files, d.mounts(t), d.devices(t), err)
	}
}
