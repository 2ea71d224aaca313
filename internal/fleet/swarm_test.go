package fleet

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/testenv"
)

// swarmPool is a pool whose hosts are the nodes of a swarm.
type swarmPool struct {
	*pool
	nodes []testenv.SwarmNode
	log   *timings
}

// timings are told in the end, and how long each of them took.
type timings struct {
	mu    sync.Mutex
	lines []string
}

// took tells how long something has taken since then.
func (p *swarmPool) took(what string, since time.Time) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	p.log.lines = append(p.log.lines, fmt.Sprintf("%-60s %5.1f s", what, time.Since(since).Seconds()))
}

// TestSwarm names a swarm of three, whose nodes become hosts by themselves, and works with them while
// servers, a node and the leader are killed, until all of it is gone again.
func TestSwarm(t *testing.T) {
	began := time.Now()
	nodes := testenv.Swarm(t, 3)
	p := &swarmPool{newPool(t, 2, "BERTH_PROBE_EVERY=2s"), nodes, &timings{}}
	p.took("three engines, a swarm, and Berth are up", began)
	t.Cleanup(func() { t.Log("\n" + strings.Join(p.log.lines, "\n")) })

	p.enrolled()
	units := p.created()
	p.killed(units)
	for _, off := range p.waysOff() {
		p.nodeAway(units, off)
	}
	if long {
		p.drained(units[2])
	}
	p.leaderAway(units)
	p.retired()
}

// enrolled adds the swarm, and waits until its nodes are hosts.
func (p *swarmPool) enrolled() {
	p.do("POST", "/regions", object{"region": "eu", "zones": []string{"eu-2"}}, 201)
	p.node("update", "--label-add=rack=r1", "--label-add=tier=gold", p.nodes[0].ID)
	p.node("update", "--label-add=zone=eu-2", "--label-add=rack=r2", p.nodes[1].ID)
	p.node("update", "--label-add=zone=nowhere", "--label-add=rack=r3", p.nodes[2].ID)
	began := time.Now()
	p.do("POST", "/swarms", object{"name": "prod", "endpoint": p.nodes[0].Cluster, "region": "eu", "zone": "eu-1"}, 201)
	p.eventually("the swarm says why its third node is no host", time.Minute, func() error {
		if n := p.seen(2); n.text("host") != "" || !strings.Contains(n.text("reason"), "no zone nowhere") {
			return fmt.Errorf("node %v", n)
		}
		return nil
	})
	p.took("the nodes of a swarm that was named are listed", began)
	p.node("update", "--label-rm=zone", p.nodes[2].ID)
	p.eventually("the nodes are hosts", 3*time.Minute, func() error {
		var errs []error
		for i, n := range p.nodes {
			if h := p.host(n.Name); h.text("state") != "online" || p.seen(i).text("reason") != "" {
				errs = append(errs, fmt.Errorf("host %s is %s: %s; node %v", n.Name, h.text("state"), h.text("reason"), p.seen(i)))
			}
		}
		return errors.Join(errs...)
	})
	p.took("three nodes are hosts that are online", began)
	for i, zone := range []string{"eu-1", "eu-2", "eu-1"} {
		h, tier := p.host(p.nodes[i].Name), p.host(p.nodes[i].Name).below("labels").text("tier")
		if h.text("zone") != zone || h.text("rack") != fmt.Sprintf("r%d", i+1) || h.text("address") != p.nodes[i].Address || (tier == "gold") != (i == 0) {
			p.Errorf("host %v", h)
		}
	}
	if got := len(p.do("GET", "/hosts", nil, 200).items()); got != 4 {
		p.Errorf("%d hosts, with the workers' own", got)
	}
}

// seen gives the nth node as the API shows it.
func (p *swarmPool) seen(n int) object {
	p.Helper()
	nodes, _ := p.do("GET", "/swarms/prod", nil, 200)["nodes"].([]any)
	for _, o := range nodes {
		if m, ok := o.(map[string]any); ok && object(m).text("id") == p.nodes[n].ID {
			return m
		}
	}
	return nil
}

// node runs docker node on a manager that is there.
func (p *swarmPool) node(args ...string) string {
	p.Helper()
	out, err := p.nodes[0].Docker(p.Context(), append([]string{"node"}, args...)...)
	if err != nil {
		p.Fatal(err)
	}
	return out
}

// unit is an instance on a node, with a way to use it as its tenant does.
type unit struct {
	name, engine, id string
	on               testenv.SwarmNode
	write            func(context.Context) error
	// kept fails unless what was written is there.
	kept func(context.Context) error
}

func (u unit) path() string { return "/storage/" + u.engine + "/instances/" + u.id }

// created has a MySQL and a Redis on the second node and a Redis on the third, and writes to each.
func (p *swarmPool) created() []unit {
	units := []unit{
		{name: "sw-mysql", engine: "mysql", on: p.nodes[1]}, {name: "sw-redis", engine: "redis", on: p.nodes[1]}, {name: "sw-other", engine: "redis", on: p.nodes[2]},
	}
	var all sync.WaitGroup
	for i := range units {
		all.Go(func() { p.make(&units[i]) })
	}
	all.Wait()
	if p.Failed() {
		p.FailNow()
	}
	p.books()
	return units
}

// make creates the instance, and writes to it.
func (p *swarmPool) make(u *unit) {
	began := time.Now()
	status, a, err := p.ask("POST", "/storage/"+u.engine+"/instances", object{"name": u.name, "placement": object{"host": u.on.Name}})
	if err != nil || status != 202 {
		p.Errorf("create %s: %d, %v, %v", u.name, status, a, err)
		return
	}
	u.id = a.below("instance").text("id")
	if err := p.finished(a.below("job").text("id"), 4*time.Minute); err != nil {
		p.Errorf("create %s: %v", u.name, err)
		return
	}
	p.took("create "+u.name, began)
	config, err := p.try("GET", u.path()+"/config", nil)
	if err != nil {
		p.Error(err)
		return
	}
	u.use(p.T, config.text("uri"))
	ctx, cancel := context.WithTimeout(p.Context(), 30*time.Second)
	defer cancel()
	if err := u.write(ctx); err != nil {
		p.Errorf("use %s: %v", u.name, err)
	}
}

// use connects with the tenant's credentials.
func (u *unit) use(t *testing.T, uri string) {
	if u.engine == "mysql" {
		db := testenv.OpenDatabase(t, uri)
		db.SetMaxIdleConns(-1) // they would be of a server that was killed
		u.write = func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "CREATE TABLE kept AS SELECT 'yes' AS word")
			return err
		}
		u.kept = func(ctx context.Context) error {
			word := ""
			return errors.Join(db.QueryRowContext(ctx, "SELECT word FROM kept").Scan(&word), unless(word == "yes"))
		}
		return
	}
	options, err := redis.ParseURL(uri)
	if err != nil {
		t.Error(err)
		return
	}
	options.ContextTimeoutEnabled = true
	c := redis.NewClient(options)
	t.Cleanup(func() { _ = c.Close() })
	u.write = func(ctx context.Context) error { return c.Set(ctx, "word", "yes", 0).Err() }
	u.kept = func(ctx context.Context) error {
		word, err := c.Get(ctx, "word").Result()
		return errors.Join(err, unless(word == "yes"))
	}
}

func unless(there bool) error {
	if there {
		return nil
	}
	return errors.New("what was written is not there")
}

// finished waits for a job that must succeed, and may be called from several goroutines.
func (p *swarmPool) finished(job string, limit time.Duration) error {
	for until := time.Now().Add(limit); ; {
		j, err := p.try("GET", "/jobs/"+job+"?wait=10s", nil)
		switch state := j.text("state"); {
		case err == nil && state == "succeeded":
			return nil
		case err == nil && (state == "failed" || state == "canceled"):
			return fmt.Errorf("the job is %s: %v, %v", state, j["error"], j["steps"])
		case time.Now().After(until):
			return fmt.Errorf("the job is %s: %v, %w", state, j["steps"], err)
		}
	}
}

// state fails unless the instance is in the state.
func (p *swarmPool) state(u unit, want string) error {
	o, err := p.try("GET", u.path(), nil)
	if err == nil && o.text("state") != want {
		err = fmt.Errorf("%s is %s: %s", u.name, o.text("state"), o.text("reason"))
	}
	return err
}

// whole waits until the instances run with what was written.
func (p *swarmPool) whole(what string, since time.Time, units ...unit) {
	p.Helper()
	for _, u := range units {
		p.eventually(u.name+" runs with its data", 2*time.Minute, func() error { return errors.Join(p.state(u, "running"), p.kept(u)) })
		p.took(u.name+" runs with its data after "+what, since)
	}
}

// kept fails unless what was written to the instance is there.
func (p *swarmPool) kept(u unit) error {
	ctx, cancel := context.WithTimeout(p.Context(), 10*time.Second)
	defer cancel()
	return u.kept(ctx)
}

// killed kills two servers and stops the third, each on its node: repairs bring them back.
func (p *swarmPool) killed(units []unit) {
	began := time.Now()
	for i, u := range units {
		how := []string{"kill", "stop", "kill"}[i]
		if _, err := u.on.Docker(p.Context(), how, p.container(u)); err != nil {
			p.Fatal(err)
		}
	}
	p.whole("a kill or stop of its server", began, units...)
}

func (p *swarmPool) container(u unit) string {
	p.Helper()
	out, err := u.on.Docker(p.Context(), "ps", "-q", "--filter", "name="+u.id)
	if err != nil || out == "" || strings.Contains(out, "\n") {
		p.Fatalf("the containers of %s are %q, %v", u.name, out, err)
	}
	return out
}

// off is a way in which a node goes away.
type off struct {
	name   string
	do     func(testenv.FleetHost, testing.TB)
	serves bool // its servers go on
}

// waysOff are a power cut, and in the long form the death of the engine alone.
func (p *swarmPool) waysOff() []off {
	ways := []off{{"a power cut", testenv.FleetHost.PowerOff, false}}
	if long {
		ways = append(ways, off{"a kill of its dockerd", testenv.FleetHost.Stop, true})
	}
	return ways
}

// nodeAway takes the second node away: its instances are unhealthy, unless their servers go on, nothing
// of them starts elsewhere, and they are whole when it is back.
func (p *swarmPool) nodeAway(units []unit, way off) {
	node, there := p.nodes[1], units[:2]
	began := time.Now()
	way.do(node.FleetHost, p.T)
	p.eventually("the host is unreachable", 2*time.Minute, func() error { return p.health(node.Name, "unreachable") })
	p.took("the host is unreachable after "+way.name, began)
	for _, u := range there {
		if way.serves {
			p.whole(way.name, began, u)
			continue
		}
		p.eventually(u.name+" is unhealthy", 2*time.Minute, func() error { return p.state(u, "unhealthy") })
		p.took(u.name+" is unhealthy after "+way.name, began)
	}
	if n := p.seen(1); n.text("state") != "down" || n.text("host") != node.Name || !strings.Contains(n.text("reason"), "down") {
		p.Errorf("the node is shown as %v", n)
	}
	p.whole(way.name+" of another node", began, units[2])
	for _, n := range []testenv.SwarmNode{p.nodes[0], p.nodes[2]} {
		for _, u := range there {
			if out, err := n.Docker(p.Context(), "ps", "-a", "-q", "--filter", "name="+u.id); err != nil || out != "" {
				p.Errorf("%s has something of %s: %q, %v", n.Name, u.name, out, err)
			}
			if left, _ := filepath.Glob(filepath.Join(n.Data, u.id+"*")); len(left) > 0 {
				p.Errorf("%s has %v", n.Name, left)
			}
		}
	}
	began = time.Now()
	node.Start(p.T)
	p.took("the node's engine answers after "+way.name, began)
	p.whole("its node was started after "+way.name, began, there...)
	p.eventually("the host is healthy", 2*time.Minute, func() error { return p.health(node.Name, "healthy") })
	p.books()
}

// drained has the swarm give the node of an instance no tasks for a while.
func (p *swarmPool) drained(u unit) {
	node := u.on
	began := time.Now()
	p.node("update", "--availability=drain", node.ID)
	p.eventually(u.name+" is unhealthy", 2*time.Minute, func() error { return p.state(u, "unhealthy") })
	p.took(u.name+" is unhealthy after its node was drained", began)
	p.eventually("the swarm says that the node is drained", time.Minute, func() error {
		if n := p.seen(2); n.text("host") != node.Name || !strings.Contains(n.text("reason"), "drain") {
			return fmt.Errorf("node %v", n)
		}
		return nil
	})
	p.eventually("the host takes nothing", time.Minute, func() error { return p.health(node.Name, "unreachable") })
	began = time.Now()
	p.node("update", "--availability=active", node.ID)
	p.whole("its node was active again", began, u)
}

// leaderAway kills the dockerd of the leader while a create and a delete are under way on other nodes.
func (p *swarmPool) leaderAway(units []unit) {
	p.eventually("all managers are reachable", time.Minute, func() error {
		status := p.node("ls", "--format", "{{.ManagerStatus}}")
		if strings.Count(status, "Reachable")+strings.Count(status, "Leader") != len(p.nodes) {
			return errors.New(status)
		}
		return nil
	})
	leader := slices.IndexFunc(p.nodes, func(n testenv.SwarmNode) bool {
		out, err := n.Docker(p.Context(), "node", "inspect", "--format", "{{.ManagerStatus.Leader}}", "self")
		return err == nil && out == "true"
	})
	if leader < 0 {
		p.Fatal("nobody leads the swarm")
	}
	doomed := slices.IndexFunc(units, func(u unit) bool { return u.engine == "redis" && u.on.ID != p.nodes[leader].ID })
	on := p.nodes[(leader+1)%len(p.nodes)]
	made := p.do("POST", "/storage/redis/instances", object{"name": "sw-late", "placement": object{"host": on.Name}}, 202)
	gone := p.do("DELETE", units[doomed].path(), nil, 202)
	p.eventually("both jobs run", 30*time.Second, func() error {
		for _, o := range []object{made, gone} {
			if j := p.do("GET", "/jobs/"+o.below("job").text("id"), nil, 200); j.text("state") != "running" {
				return fmt.Errorf("%s is %s", j.text("kind"), j.text("state"))
			}
		}
		return nil
	})
	began := time.Now()
	p.nodes[leader].Stop(p.T)
	for what, o := range map[string]object{"create": made, "delete": gone} {
		if err := p.finished(o.below("job").text("id"), 4*time.Minute); err != nil {
			p.Errorf("the %s: %v", what, err)
		}
		p.took("the "+what+" under way ended after the leader was killed", began)
	}
	p.uses(p.do("GET", "/storage/instances/"+made.below("instance").text("id"), nil, 200))
	p.nodes[leader].Start(p.T)
	p.whole("the leader was killed, which was back", began, slices.Delete(slices.Clone(units), doomed, doomed+1)...)
	p.books()
}

// retired deletes all instances and hosts. A node without its label does not come back.
func (p *swarmPool) retired() {
	began := time.Now()
	var jobs []string
	for _, i := range p.do("GET", "/storage/instances?limit=200", nil, 200).items() {
		jobs = append(jobs, p.do("DELETE", "/storage/"+i.text("engine")+"/instances/"+i.text("id"), nil, 202).below("job").text("id"))
	}
	for _, j := range jobs {
		p.succeeded(j, 3*time.Minute)
	}
	p.took("three instances are deleted", began)
	p.node("update", "--label-rm=berth.isolated", p.nodes[2].ID)
	began = time.Now()
	p.deleted(p.nodes[2])
	p.took("a host is deleted", began)
	p.eventually("the swarm says why the node is no host", time.Minute, func() error {
		if n := p.seen(2); n.text("host") != "" || !strings.Contains(n.text("reason"), "no label berth.isolated") {
			return fmt.Errorf("node %v", n)
		}
		return nil
	})
	p.do("DELETE", "/swarms/prod", nil, 204)
	for _, n := range p.nodes[:2] {
		p.deleted(n)
	}
	if got := p.do("GET", "/hosts", nil, 200).items(); len(got) != 1 {
		p.Errorf("the hosts are still %v", got)
	}
	for _, n := range p.nodes {
		if left, _ := filepath.Glob(filepath.Join(n.Data, "*")); len(left) > 0 {
			p.Errorf("node %s has still %v", n.Name, left)
		}
		p.eventually("no container is left on "+n.Name, time.Minute, func() error {
			out, err := n.Docker(p.Context(), "ps", "-a", "--format", "{{.Names}} {{.Status}}")
			if err == nil && out != "" {
				err = errors.New(out)
			}
			return err
		})
	}
	for _, kind := range []string{"service", "config", "secret"} { // nobody else has any in this swarm
		if out, err := p.nodes[0].Docker(p.Context(), kind, "ls", "-q"); err != nil || out != "" {
			p.Errorf("there is still a %s: %s %v", kind, out, err)
		}
	}
}

// deleted deletes the host of a node.
func (p *swarmPool) deleted(n testenv.SwarmNode) {
	p.Helper()
	p.succeeded(p.do("DELETE", "/hosts/"+p.host(n.Name).text("id"), nil, 202).text("id"), 3*time.Minute)
}
