package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

// TestSwarmNodes makes the nodes of a swarm hosts of the pool, and places on them.
func TestSwarmNodes(t *testing.T) {
	nodes := testenv.Swarm(t, 3, "redis:8")
	p := newPool(t, 1)
	list := []object{}
	for i, n := range nodes {
		list = append(list, object{
			"name": n.Name, "address": n.Address, "endpoint": n.SwarmEndpoint, "region": "eu", "zone": "eu-1", "rack": fmt.Sprintf("r%d", i+1),
		})
	}
	o := p.do("POST", "/hosts/import?skip_init=true", list, 202)
	p.succeeded(o.below("job").text("id"), 8*time.Minute)
	at := map[string]bool{}
	for i := range 2 {
		inst := p.creates(fmt.Sprintf("node-%d", i), object{"region": "eu", "group": "g", "spread": "host", "strict": true})
		at[inst.below("endpoint").text("host")] = true
		p.uses(inst)
	}
	if len(at) != 2 {
		t.Errorf("two units on two nodes are at %v", at)
	}
	p.books()
	for _, i := range p.do("GET", "/storage/instances?limit=200", nil, 200).items() {
		p.succeeded(p.do("DELETE", "/storage/redis/instances/"+i.text("id"), nil, 202).below("job").text("id"), 3*time.Minute)
	}
	for _, n := range nodes {
		p.succeeded(p.do("DELETE", "/hosts/"+p.host(n.Name).text("id"), nil, 202).text("id"), 3*time.Minute)
	}
}
