package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

// TestPool imports three engines and a bare machine with a wrong password, and works with what comes of
// that until all of it is gone again.
func TestPool(t *testing.T) {
	hosts, machine := testenv.Fleet(t, 3), testenv.Machine(t)
	p := newPool(t, 2)
	sheet := header + row(hosts[0], "r1") + row(hosts[1], "r2") + row(hosts[2], "r3") + machineRow(machine, "m1", machine.Password+"-wrong")

	t.Run("import", func(t *testing.T) { p.with(t).imported(hosts, sheet) })
	t.Run("machine", func(t *testing.T) { p.with(t).machine(machine) })
	t.Run("disk", func(t *testing.T) { p.with(t).onDisk(hosts[0]) })
	t.Run("spread", func(t *testing.T) { p.with(t).spread() })
	t.Run("engine away", func(t *testing.T) { p.with(t).away(hosts[2]) })
	t.Run("drain and delete", func(t *testing.T) { p.with(t).retired(hosts) })
	t.Run("certificates", func(t *testing.T) { p.with(t).certified(hosts[0]) })
	p.books()
}

// with gives the pool to a test below.
func (p *pool) with(t *testing.T) *pool {
	other := *p
	other.T = t
	return &other
}

func (p *pool) imported(hosts []testenv.FleetHost, sheet string) {
	j := p.imports("", sheet, 5*time.Minute)
	if j.text("state") != "failed" || j.below("error").text("code") != "login_refused" {
		p.Errorf("the import with one wrong password is %s: %v", j.text("state"), j["error"])
	}
	for _, h := range hosts {
		if got := p.host(h.Name); got.text("state") != "online" || got.text("engine") == "" || got.below("capacity")["memory"] == 0 {
			p.Errorf("host %s is %v", h.Name, got)
		}
		if left, err := h.Docker(p.Context(), "ps", "-a", "-q"); err != nil || left != "" {
			p.Errorf("the proof has left %q on %s, %v", left, h.Name, err)
		}
	}
	if m := p.host("m1"); m.text("state") != "failed" || !strings.Contains(m.text("reason"), "refuses the login") {
		p.Errorf("the machine is %s: %s", m.text("state"), m.text("reason"))
	}
	status, o, err := p.answer(p.raw("POST", "/hosts/import", "text/csv", []byte(header+row(hosts[0], "r1"))))
	if err != nil || status != 409 || o.text("code") != "host_exists" {
		p.Errorf("the same again: %d, %v, %v", status, o, err)
	}
	same := hosts[0] // under another name and address
	same.Name, same.Address = "twin", "twin.invalid"
	if j := p.imports("?skip_init=true", header+row(same, "r1"), 3*time.Minute); j.below("error").text("code") != "engine_known" {
		p.Errorf("the same engine under another name: %v", j["error"])
	}
	p.succeeded(p.do("DELETE", "/hosts/"+p.host("twin").text("id"), nil, 202).text("id"), time.Minute)
	bad := header + "b1,10.0.0.7,root,s3cret-of-a-row,eu,nowhere,r1,VAX,,,,,,,,,,\n" + "B 2,,root,,eu,eu-1,,,,,,,,,,,,\n"
	_, o, err = p.answer(p.raw("POST", "/hosts/import", "text/csv", []byte(bad)))
	for _, field := range []string{"rows[2].zone", "rows[2].arch", "rows[3].name", "rows[3].address"} {
		if err != nil || !strings.Contains(fmt.Sprint(o["errors"]), field) {
			p.Errorf("the sheet with two bad rows is answered %v, %v: no %s", o, err, field)
		}
	}
	if p.host("b1") != nil {
		p.Error("a refused sheet has added a host")
	}
	p.nowhere("a password", "s3cret-of-a-row")
}

// machine logs in to a bare machine, which has no engine.
func (p *pool) machine(m testenv.BareMachine) {
	j := p.imports("", header+machineRow(m, "m1", m.Password), 3*time.Minute)
	got := p.host("m1")
	if j.below("error").text("code") != "checks_failed" || !strings.Contains(got.text("reason"), "no engine answers") || !strings.HasPrefix(got.text("host_key"), "ssh-") {
		p.Errorf("a machine without an engine: %v, %v", j["error"], got)
	}
	p.nowhere("the machine's password", m.Password)
	p.do("DELETE", "/hosts/"+got.text("id"), nil, 202)
	p.eventually("the host is gone", time.Minute, func() error {
		if p.host("m1") != nil {
			return errors.New("it is there")
		}
		return nil
	})
	key := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPYq4ImBVsx7+bP8u2mB1MF1cLDP4iqhHdKmrKzeme/u" // of somebody else
	made := p.do("POST", "/hosts", object{
		"name": "m1", "address": m.Address, "user": m.User, "password": m.Password, "host_key": key, "region": "eu", "zone": "eu-1",
	}, 202)
	if j := p.ended(made.below("job").text("id"), time.Minute); j.below("error").text("code") != "host_key_changed" {
		p.Errorf("another host key: %v", j["error"])
	}
	p.do("DELETE", "/hosts/"+p.host("m1").text("id")+"?force=true", nil, 202)
	if p.host("m1") != nil {
		p.Error("a host that was deleted by force is there")
	}
}

// onDisk puts the data of instances on a disk of the host.
func (p *pool) onDisk(h testenv.FleetHost) {
	folder, err := os.MkdirTemp("", "disk") // the engines are on this machine's file system
	if err == nil {
		err = os.Chmod(folder, 0o755) //nolint:gosec // servers of other users go through it
	}
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = os.RemoveAll(folder) })
	id := p.host(h.Name).text("id")
	const gib = 1 << 30
	d := p.do("POST", "/hosts/"+id+"/disks", object{"path": folder, "type": "nvme", "capacity": 3 * gib}, 201)
	p.refused("POST", "/storage/mysql/instances", object{"placement": object{"disk_type": "hdd"}}, "no_capacity")
	fast := object{"disk_type": "nvme"}
	for _, engine := range []string{"redis", "mysql"} {
		a := p.do("POST", "/storage/"+engine+"/instances", object{"name": "fast-" + engine, "placement": fast, "resources": object{"disk": 2 * gib}}, 202)
		inst := a.below("instance").text("id")
		p.succeeded(a.below("job").text("id"), 4*time.Minute)
		if files, err := os.ReadDir(filepath.Join(folder, "berth-"+inst)); err != nil || len(files) == 0 {
			p.Errorf("the data of a %s on the disk: %v, %v", engine, files, err)
		}
		p.refused("POST", "/storage/redis/instances", object{"placement": fast, "resources": object{"disk": 2 * gib}}, "no_capacity")
		p.refused("DELETE", "/hosts/"+id+"/disks/"+d.text("id"), nil, "disk_in_use")
		p.books()
		p.succeeded(p.do("DELETE", "/storage/"+engine+"/instances/"+inst, nil, 202).below("job").text("id"), 2*time.Minute)
		if _, err := os.Stat(filepath.Join(folder, "berth-"+inst)); !os.IsNotExist(err) {
			p.Errorf("the data of a deleted %s is on the disk: %v", engine, err)
		}
	}
	p.do("PATCH", "/hosts/"+id+"/disks/"+d.text("id"), object{"state": "error"}, 200)
	p.refused("POST", "/storage/redis/instances", object{"placement": fast}, "no_capacity")
	p.do("DELETE", "/hosts/"+id+"/disks/"+d.text("id"), nil, 204)
}

// spread puts three units on three racks, and no fourth.
func (p *pool) spread() {
	apart := object{"region": "eu", "group": "g", "spread": "rack", "strict": true}
	at := map[string]bool{}
	for i := range 3 {
		inst := p.creates(fmt.Sprintf("apart-%d", i), apart)
		at[inst.below("endpoint").text("host")] = true
		p.uses(inst)
	}
	if len(at) != 3 {
		p.Errorf("three units in three racks are at %v", at)
	}
	o := p.refused("POST", "/storage/redis/instances", object{"placement": apart}, "no_capacity")
	if !strings.Contains(fmt.Sprint(o["reasons"]), "spread") {
		p.Errorf("a fourth unit in three racks: %v", o)
	}
	p.refused("POST", "/hosts/placement", object{"engine": "redis", "placement": object{"zone": "eu-9"}}, "no_capacity")
	o = p.do("POST", "/hosts/placement", object{"common_ports": 5, "placement": object{"region": "eu"}}, 200)
	if first, _ := o["first_port"].(float64); first == 0 || len(o["hosts"].([]any)) != 3 {
		p.Errorf("ports that are free on all hosts: %v", o)
	}
	p.books()
}

// health fails where the host is not as wanted.
func (p *pool) health(name, want string) error {
	p.Helper()
	if got := p.host(name).text("health"); got != want {
		return fmt.Errorf("it is %s", got)
	}
	return nil
}

// away ends the engine of a host, and brings it back.
func (p *pool) away(h testenv.FleetHost) {
	id := p.host(h.Name).text("id")
	health := func(want string) {
		p.Helper()
		p.eventually("host "+h.Name+" is "+want, 2*time.Minute, func() error { return p.health(h.Name, want) })
	}
	h.Stop(p.T)
	health("unreachable")
	inst := p.creates("elsewhere", object{"region": "eu"})
	if inst.below("endpoint").text("host") == h.Address {
		p.Errorf("it was placed on a host that does not answer: %v", inst)
	}
	h.Start(p.T)
	health("healthy")
	p.succeeded(p.do("POST", "/hosts/"+id+"/inspect", nil, 202).text("id"), 3*time.Minute)
}

// retired takes all hosts out of the pool.
func (p *pool) retired(hosts []testenv.FleetHost) {
	first := p.host(hosts[0].Name).text("id")
	p.refused("DELETE", "/hosts/"+first, nil, "host_in_use")
	p.succeeded(p.do("POST", "/hosts/"+first+"/drain", nil, 202).text("id"), time.Minute)
	stays := p.do("GET", "/hosts/"+first+"/instances", nil, 200).items()
	if len(stays) == 0 || p.host(hosts[0].Name).text("state") != "cordoned" {
		p.Errorf("drained, %v stays on %v", stays, p.host(hosts[0].Name))
	}
	p.refused("POST", "/storage/redis/instances", object{"placement": object{"host": hosts[0].Name}}, "host_cordoned")
	for _, i := range p.do("GET", "/storage/instances?limit=200", nil, 200).items() {
		p.succeeded(p.do("DELETE", "/storage/redis/instances/"+i.text("id"), nil, 202).below("job").text("id"), 2*time.Minute)
	}
	for _, h := range hosts {
		p.succeeded(p.do("DELETE", "/hosts/"+p.host(h.Name).text("id"), nil, 202).text("id"), 2*time.Minute)
		p.left(h)
	}
}

// left fails where something of Berth is on the host.
func (p *pool) left(h testenv.FleetHost) {
	ctx, cancel := context.WithTimeout(p.Context(), time.Minute)
	defer cancel()
	for _, list := range [][]string{{"ps", "-a", "-q"}, {"volume", "ls", "-q"}, {"images", "-q", "berth/golden"}} {
		if out, err := h.Docker(ctx, list...); err != nil || out != "" {
			p.Errorf("on %s, docker %v gives %q, %v", h.Name, list, out, err)
		}
	}
}
