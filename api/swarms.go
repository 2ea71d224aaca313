package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/tenant"
)

type swarmBody struct {
	Name     string `json:"name" doc:"unique; a-z, 0-9, - and ., up to 63 characters"`
	Endpoint string `json:"endpoint" doc:"all managers of the swarm: swarm://MANAGER:PORT,MANAGER:PORT[?data=/PATH], where /PATH is the folder of each node for the data of instances; default: /var/lib/berth"`
	Region   string `json:"region" doc:"region that the nodes stand in"`
	Zone     string `json:"zone,omitempty" doc:"zone of nodes without the label zone; without it they do not become hosts"`
	Reserved bool   `json:"reserved,omitempty" doc:"nodes become reserved hosts"`
}

type swarmView struct {
	Name      string          `json:"name"`
	Endpoint  string          `json:"endpoint"`
	Region    string          `json:"region"`
	Zone      string          `json:"zone,omitempty" doc:"zone of nodes without the label zone"`
	Reserved  bool            `json:"reserved"`
	Nodes     []swarmNodeView `json:"nodes" nullable:"false" doc:"nodes as a worker saw them last"`
	SeenAt    stamp           `json:"seen_at,omitempty" doc:"when the nodes were listed last; absent until they were"`
	Error     string          `json:"error,omitempty" doc:"why the nodes could not be listed since then"`
	CreatedAt stamp           `json:"created_at"`
}

type swarmNodeView struct {
	ID           string  `json:"id"`
	Hostname     string  `json:"hostname"`
	Address      string  `json:"address,omitempty" doc:"address by which the managers know it"`
	State        string  `json:"state" doc:"ready, down, unknown or disconnected, as the swarm says"`
	Availability string  `json:"availability" doc:"active, pause or drain, as the swarm says"`
	Host         *string `json:"host" doc:"name of the host that the node is"`
	Reason       string  `json:"reason,omitempty" doc:"why the node is no host, or what keeps its host from being used"`
}

func viewSwarm(v host.SwarmView) swarmView {
	out := swarmView{
		Name: v.Name, Endpoint: v.Endpoint, Region: v.Region, Zone: v.Zone, Reserved: v.Reserved, Nodes: make([]swarmNodeView, len(v.Nodes)),
		SeenAt: at(v.SeenAt), Error: v.Error, CreatedAt: at(v.CreatedAt),
	}
	for i, n := range v.Nodes {
		out.Nodes[i] = swarmNodeView{ID: n.ID, Hostname: n.Hostname, Address: n.Address, State: n.State, Availability: n.Availability, Reason: n.Reason}
		if n.Host != "" {
			out.Nodes[i].Host = &n.Host
		}
	}
	return out
}

type swarmsView struct {
	Items []swarmView `json:"items" nullable:"false"`
}

// SwarmPath is the part of a path that names a swarm.
type SwarmPath struct {
	Name string `path:"name" maxLength:"63" doc:"name of the swarm"`
}

func (s *server) swarmRoutes(h huma.API) {
	op := operations("hosts", basePath+"/swarms")
	huma.Register(h, op("list-swarms", http.MethodGet, "", "List swarms with their nodes", tenant.Operate, 200), func(ctx context.Context, _ *struct{}) (*body[swarmsView], error) {
		list, err := s.Hosts.Swarms(ctx, principalOf(ctx))
		if err != nil {
			return nil, s.fail(err)
		}
		return &body[swarmsView]{swarmsView{viewPage(list, "", viewSwarm).Items}}, nil
	})
	huma.Register(h, op("add-swarm", http.MethodPost, "", "Have the nodes of a swarm become hosts by themselves", tenant.Operate, 201, 422), func(ctx context.Context, in *struct{ Body swarmBody }) (*body[swarmView], error) {
		b := in.Body
		return s.swarmAnswer(s.Hosts.AddSwarm(ctx, principalOf(ctx), host.Swarm{Name: b.Name, Endpoint: b.Endpoint, Region: b.Region, Zone: b.Zone, Reserved: b.Reserved}))
	})
	huma.Register(h, op("get-swarm", http.MethodGet, "/{name}", "Get a swarm with its nodes", tenant.Operate, 200, 404), func(ctx context.Context, in *SwarmPath) (*body[swarmView], error) {
		return s.swarmAnswer(s.Hosts.Swarm(ctx, principalOf(ctx), in.Name))
	})
	huma.Register(h, op("delete-swarm", http.MethodDelete, "/{name}", "Forget a swarm; its nodes that are hosts stay hosts", tenant.Operate, 204, 404), func(ctx context.Context, in *SwarmPath) (*struct{}, error) {
		if err := s.Hosts.RemoveSwarm(ctx, principalOf(ctx), in.Name); err != nil {
			return nil, s.fail(err)
		}
		return nil, nil
	})
}

func (s *server) swarmAnswer(v host.SwarmView, err error) (*body[swarmView], error) {
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[swarmView]{viewSwarm(v)}, nil
}
