package testenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// SwarmNode is a host that is a node, and a manager, of a swarm.
type SwarmNode struct {
	FleetHost
	ID   string // of the node
	Data string // the node's folder for the data of instances, as this machine has it
	// Cluster is the address of the swarm as Berth has it: "swarm://10.215.7.11:2375,10.215.7.12:2375?data=/run/volumes".
	Cluster string
	// SwarmEndpoint is that of the node: with "&node=ID".
	SwarmEndpoint string
}

// Swarm starts so many hosts, all of them managers of one swarm, with what Berth wants of a node: a
// folder for data, and settings that keep instances apart. The first one is its leader.
func Swarm(t testing.TB, n int, images ...string) []SwarmNode {
	t.Helper()
	hosts := fleet(t, n, images, `BERTH_FLEET_ENGINE="icc": false, "ip-masq": false,`)
	must := func(h FleetHost, args ...string) string {
		t.Helper()
		out, err := h.Docker(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	var nodes []SwarmNode
	var managers []string
	for i, h := range hosts {
		if i == 0 {
			must(h, "swarm", "init", "--advertise-addr", h.Address)
		} else {
			must(h, "swarm", "join", "--token", must(hosts[0], "swarm", "join-token", "--quiet", "manager"), hosts[0].Address+":2377")
		}
		node := SwarmNode{FleetHost: h, ID: must(h, "info", "--format", "{{.Swarm.NodeID}}"), Data: filepath.Join(h.Folder, "volumes")}
		must(hosts[0], "node", "update", "--label-add", "berth.isolated=true", node.ID)
		if err := os.MkdirAll(node.Data, 0o700); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, node)
		managers = append(managers, h.Address+":2375")
	}
	for i := range nodes {
		nodes[i].Cluster = "swarm://" + strings.Join(managers, ",") + "?data=/run/volumes"
		nodes[i].SwarmEndpoint = nodes[i].Cluster + "&node=" + nodes[i].ID
	}
	return nodes
}
