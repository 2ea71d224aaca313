package host_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/rooms/roomstest"
	"github.com/berth-project/berth/internal/tenant"
)

// managers are those of one swarm. meanwhile, if set, is done once between their answer and its use.
type managers struct {
	nodes     []host.Node
	err       error
	meanwhile func()
}

// Nodes implements host.SwarmManagers.
func (m *managers) Nodes(context.Context, string, string) ([]host.Node, error) {
	nodes, err := slices.Clone(m.nodes), m.err
	if do := m.meanwhile; do != nil {
		m.meanwhile = nil
		do()
	}
	return nodes, err
}

// enroller gives a worker's, with the store that it has.
func (w *world) enroller(s rooms.Store, m host.SwarmManagers, owner string) *host.Enroller {
	return &host.Enroller{
		Service: host.NewService(host.ServiceConfig{
			Store: rooms.Hosts(s), Answers: s, Jobs: w.instances.JobEngine(), Ports: w.ports(s), Vault: w.vault, NewID: w.newID, Log: w.log,
		}),
		Managers: m, Log: w.log, Owner: owner, Every: 10 * time.Second,
	}
}

// swarm adds the swarm "prod" of region eu, zone a.
func (w *world) swarm() {
	w.Helper()
	_, err := w.hosts.AddSwarm(w.ctx, operator, host.Swarm{Name: "prod", Endpoint: swarmEndpoint, Region: "eu", Zone: "a"})
	w.must(err)
}

const swarmEndpoint = "swarm://10.9.0.1:2376,10.9.0.2:2376?data=/srv/my%20berth"

func endpointOf(node string) string {
	return "swarm://10.9.0.1:2376,10.9.0.2:2376?node=" + node + "&data=/srv/my+berth"
}

// node gives the nth node of a swarm, which answers from now on, with labels besides that it is isolated.
func (w *world) node(n int, labels ...string) host.Node {
	at := host.Node{
		ID: fmt.Sprintf("node%d", n), Hostname: fmt.Sprintf("m%d", n), Address: fmt.Sprintf("10.9.0.%d", n), State: "ready", Availability: "active",
		Labels: map[string]string{host.LabelIsolated: "true"},
	}
	for _, l := range labels {
		name, value, _ := strings.Cut(l, "=")
		at.Labels[name] = value
	}
	w.fleet.set(endpointOf(at.ID), hosttest.NewRuntime("dep"))
	return at
}

func (w *world) enrolls(e *host.Enroller, want int) {
	w.Helper()
	if got, err := e.RunOnce(w.ctx); got != want || err != nil {
		w.Fatalf("%d imports were accepted, %v; want %d", got, err, want)
	}
}

// enrolled waits for all imports.
func (w *world) enrolled() {
	w.Helper()
	hosts, err := w.store.Hosts(w.ctx)
	w.must(err)
	for _, h := range hosts {
		if which := w.jobAt(h.ID); which != "" {
			w.spin(which)
		}
	}
}

// prod gives what is known of the swarm, with its nodes by their ids.
func (w *world) prod() (host.SwarmView, map[string]host.NodeView) {
	w.Helper()
	v, err := w.hosts.Swarm(w.ctx, operator, "prod")
	w.must(err)
	nodes := map[string]host.NodeView{}
	for _, n := range v.Nodes {
		nodes[n.ID] = n
	}
	return v, nodes
}

func (w *world) hostsByName() map[string]host.Host {
	w.Helper()
	list, err := w.store.Hosts(w.ctx)
	w.must(err)
	all := map[string]host.Host{}
	for _, h := range list {
		all[h.Name] = h
	}
	return all
}

func TestNodesBecomeHosts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.swarm()
		down, drained, bare, nowhere, odd, twin, vague := w.node(3), w.node(4), w.node(5), w.node(6, "zone=mars"), w.node(7), w.node(8), w.node(9)
		down.State, drained.Availability, bare.Labels, vague.Address = "down", "drain", nil, ""
		odd.Hostname, twin.Hostname = "..DB_1..Example-", "m1"
		m := &managers{nodes: []host.Node{
			w.node(1, "zone=a", "berth.zone=b", "rack=r1", "tier=gold", "bad label=x", "long="+strings.Repeat("x", 64)), w.node(2, "berth.address=db-2.example"),
			down, drained, bare, nowhere, odd, twin, vague,
		}}
		e := w.enroller(w.store, m, "w1")
		w.enrolls(e, 4)
		w.enrolls(e, 0)
		w.enrolled()
		all := w.hostsByName()
		if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, []string{"db-1.example", "m1", "m1-prod", "m2"}) {
			w.Fatalf("the hosts are %v", got)
		}
		one, two := all["m1"], all["m2"]
		if one.State != host.StateOnline || one.Region != "eu" || one.Zone != "b" || one.Rack != "r1" || one.Advertise != "10.9.0.1" ||
			one.Endpoint != endpointOf("node1") || !maps.Equal(one.Labels, map[string]string{"tier": "gold"}) || !one.Import.SkipInit {
			w.Errorf("%+v", one)
		}
		if two.State != host.StateOnline || two.Zone != "a" || two.Advertise != "db-2.example" || len(two.Labels) > 0 {
			w.Errorf("%+v", two)
		}
		v, nodes := w.prod()
		if v.Hosts() != 4 || v.SeenAt.IsZero() || v.Error != "" || len(v.Nodes) != 9 {
			w.Errorf("%+v", v)
		}
		for which, want := range map[string][2]string{
			"node1": {"m1", ""}, "node3": {"", "is down"}, "node4": {"", "availability is drain"}, "node5": {"", "no label berth.isolated=true"},
			"node6": {"", "zone: there is no zone mars in region eu"}, "node7": {"db-1.example", ""}, "node8": {"m1-prod", ""}, "node9": {"", "berth.address"},
		} {
			if n := nodes[which]; n.Host != want[0] || !strings.Contains(n.Reason, want[1]) || (want[1] == "") != (n.Reason == "") {
				w.Errorf("%s is host %q (%s), want %v", which, n.Host, n.Reason, want)
			}
		}

		// What is a host stays one, whatever becomes of its node; what was in the way may be over.
		m.nodes[0].Availability, m.nodes[1].Labels, m.nodes[6].State = "drain", nil, "down"
		m.nodes[2].State, m.nodes = "ready", slices.Delete(m.nodes, 3, 4)
		_, err := w.hosts.AddPlace(w.ctx, operator, "eu", "", []string{"mars"})
		w.must(err)
		w.enrolls(e, 2)
		w.enrolled()
		_, nodes = w.prod()
		for which, want := range map[string]string{"node1": "availability is drain", "node2": "no label", "node6": "", "node7": "", "node3": ""} {
			if n := nodes[which]; n.Host == "" || !strings.Contains(n.Reason, want) || (want == "") != (n.Reason == "") && which != "node7" {
				w.Errorf("%s is host %q (%s), want %q", which, n.Host, n.Reason, want)
			}
		}
		w.must(w.hosts.RemoveSwarm(w.ctx, operator, "prod"))
		w.enrolls(e, 0)
		if got := len(w.hostsByName()); got != 6 {
			w.Errorf("%d hosts are left", got)
		}
	})
}

// A node whose import has failed is tried again when its host is deleted, and so is one whose host was
// deleted while the node is still labeled.
func TestFailedNodeIsNotRepeated(t *testing.T) {
	inWorld(t, func(w *world) {
		w.swarm()
		m := &managers{nodes: []host.Node{w.node(1)}}
		w.fleet.set(endpointOf("node1"), nil)
		e := w.enroller(w.store, m, "w1")
		w.enrolls(e, 1)
		w.enrolled()
		for range 3 {
			w.pass(10 * time.Second)
			w.enrolls(e, 0)
		}
		_, nodes := w.prod()
		h := w.hostsByName()["m1"]
		if h.State != host.StateFailed || nodes["node1"].Host != "m1" || !strings.Contains(nodes["node1"].Reason, "import has failed") {
			w.Errorf("host %+v, node %+v", h, nodes["node1"])
		}
		again := w.node(2) // of the same name, elsewhere: it does not take the failed one's place
		again.Hostname = "m1"
		m.nodes = append(m.nodes, again)
		w.enrolls(e, 1)
		w.enrolled()
		if got := w.hostsByName()["m1-prod"]; got.Endpoint != endpointOf("node2") || got.State != host.StateOnline {
			w.Errorf("%+v", got)
		}

		w.node(1) // it answers
		w.spin(w.remove(h.ID, false).ID)
		w.gone(h.ID)
		w.enrolls(e, 1)
		w.enrolled()
		if got := w.hostsByName()["m1"]; got.State != host.StateOnline || got.ID == h.ID {
			w.Errorf("%+v", got)
		}
	})
}

// A node that is a host already, by hand or by another way, is not made another one.
func TestNodeThatIsAHost(t *testing.T) {
	inWorld(t, func(w *world) {
		w.swarm()
		byHand, taken := w.node(1), w.node(2)
		made := w.accept(host.ImportOptions{SkipInit: true}, host.Candidate{
			Name: "by-hand", Address: "elsewhere.example", Endpoint: "swarm://other.example:2376?node=" + byHand.ID, Region: "eu", Zone: "a",
		})
		w.candidate(3)
		taken.Address = address(3)
		w.imported(3)
		e := w.enroller(w.store, &managers{nodes: []host.Node{byHand, taken}}, "w1")
		w.enrolls(e, 0)
		_, nodes := w.prod()
		if nodes["node1"].Host != "by-hand" || nodes["node2"].Host != "" || !strings.Contains(nodes["node2"].Reason, "address: is that of host h3") {
			w.Errorf("%+v", nodes)
		}
		w.spin(made.Job.ID)
	})
}

// Two workers that look at once, and one that is ended before or behind each call, make one host of
// each node.
func TestNodesAreEnrolledOnce(t *testing.T) {
	once := func(w *world, m *managers) {
		w.Helper()
		w.enrolled()
		if all := w.hostsByName(); len(all) != 2 || all["m1"].State != host.StateOnline || all["m2"].State != host.StateOnline {
			w.Errorf("the hosts are %+v", all)
		}
		w.enrolls(w.enroller(w.store, m, "w9"), 0)
		imports, err := w.store.Jobs(tenant.Beyond(w.ctx), job.Filter{Tenant: tenant.Pool, Kind: host.JobImport}, page.Page{Limit: 10})
		if err != nil || len(imports) != 2 {
			w.Errorf("%d imports, %v", len(imports), err)
		}
	}
	t.Run("two at once", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.swarm()
			m := &managers{nodes: []host.Node{w.node(1), w.node(2)}}
			other := w.enroller(w.store, &managers{nodes: m.nodes}, "w2")
			m.meanwhile = func() {
				w.exec("DELETE FROM duties") // it has lost the duty without knowing
				w.enrolls(other, 2)
			}
			w.enrolls(w.enroller(w.store, m, "w1"), 0)
			w.exec("DELETE FROM duties")
			once(w, m)
		})
	})
	var calls []string
	crash := func(n int, after bool) func(*world) {
		return func(w *world) {
			w.swarm()
			m := &managers{nodes: []host.Node{w.node(1), w.node(2)}}
			ctx, end := context.WithCancel(w.ctx)
			defer end()
			l := hosttest.NewLife(n, after, end)
			_, err := w.enroller(roomstest.MortalStore{Store: w.store, Life: l}, m, "w1").RunOnce(ctx)
			if calls = l.Calls(); n > 0 && err == nil {
				w.Error("it did not notice its end")
			}
			w.pass(time.Minute)
			_, err = w.enroller(w.store, m, "w2").RunOnce(w.ctx)
			w.must(err)
			w.pass(time.Minute)
			once(w, m)
		}
	}
	inWorld(t, crash(-1, false))
	if len(calls) < 2 {
		t.Fatalf("too few calls to be true: %v", calls)
	}
	for n := range calls {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("call %d, after %v", n+1, after), func(t *testing.T) { inWorld(t, crash(n+1, after)) })
		}
	}
}

func TestSwarmThatDoesNotAnswer(t *testing.T) {
	inWorld(t, func(w *world) {
		w.swarm()
		m := &managers{nodes: []host.Node{w.node(1)}}
		e := w.enroller(w.store, m, "w1")
		e.DryRun = true
		w.enrolls(e, 0)
		if _, nodes := w.prod(); nodes["node1"].Host != "" || nodes["node1"].Reason == "" || len(w.hostsByName()) > 0 {
			w.Errorf("after a dry run: %+v", nodes)
		}
		e.DryRun = false
		m.err = fault.Errorf(fault.CodeHostUnavailable, nil, "nobody answers")
		for range 2 {
			w.enrolls(e, 0)
			if v, nodes := w.prod(); v.Error != "nobody answers" || len(nodes) != 1 {
				w.Errorf("%+v", v)
			}
		}
		m.err = nil
		w.enrolls(e, 1)
		if v, _ := w.prod(); v.Error != "" || v.Hosts() != 1 {
			w.Errorf("%+v", v)
		}
		w.enrolled()
	})
}

func TestSwarmsAreForOperators(t *testing.T) {
	inWorld(t, func(w *world) {
		owner := tenant.Principal{Tenant: tenant.Default, Role: tenant.Owner, Name: "an owner"}
		_, added := w.hosts.AddSwarm(w.ctx, owner, host.Swarm{})
		_, listed := w.hosts.Swarms(w.ctx, owner)
		_, got := w.hosts.Swarm(w.ctx, owner, "prod")
		for _, err := range []error{added, listed, got, w.hosts.RemoveSwarm(w.ctx, owner, "prod")} {
			if fault.CodeOf(err) != fault.CodeForbidden {
				w.Error(err)
			}
		}
		w.swarm()
		long := strings.Repeat("m.example:2376,", 32) + "m.example:2376"
		for field, sw := range map[string]host.Swarm{
			"name":     {Name: "prod", Endpoint: swarmEndpoint, Region: "eu"},
			"endpoint": {Name: "x", Endpoint: "swarm://" + long, Region: "eu"},
			"zone":     {Name: "x", Endpoint: swarmEndpoint, Region: "eu", Zone: "?"},
		} {
			_, err := w.hosts.AddSwarm(w.ctx, operator, sw)
			var wrong *fault.Error
			if !errors.As(err, &wrong) || len(wrong.Fields) != 1 || wrong.Fields[0].Field != field {
				w.Errorf("%s: %v", field, err)
			}
		}
	})
}

// The managers of a node may become others while instances are on it; it may not become another node.
func TestOtherManagersOfANode(t *testing.T) {
	inWorld(t, func(w *world) {
		w.swarm()
		e := w.enroller(w.store, &managers{nodes: []host.Node{w.node(1)}}, "w1")
		w.enrolls(e, 1)
		w.enrolled()
		w.created(host.Where{})
		h := w.hostsByName()["m1"]
		set := func(endpoint string) error {
			_, err := w.hosts.ChangeHost(w.ctx, operator, h.ID, host.Change{Endpoint: &endpoint})
			return err
		}
		w.must(set("swarm://10.9.0.7:2376?node=node1&data=/srv/my+berth"))
		for _, endpoint := range []string{"swarm://10.9.0.7:2376?node=node2&data=/srv/my+berth", "swarm://10.9.0.7:2376?node=node1"} {
			if err := set(endpoint); fault.CodeOf(err) != fault.CodeHostInUse {
				w.Errorf("%s: %v", endpoint, err)
			}
		}
		if got := w.host(h.ID); got.Used.Units != 1 || !strings.Contains(got.Endpoint, "10.9.0.7") {
			w.Errorf("%+v", got)
		}
	})
}
