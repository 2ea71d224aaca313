package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/tenant"
)

type disksView struct {
	Items []hostDiskView `json:"items" nullable:"false"`
}

func (s *server) listDisks(ctx context.Context, in *HostPath) (*body[disksView], error) {
	v, err := s.Hosts.Host(ctx, principalOf(ctx), in.id())
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[disksView]{disksView{viewHost(v).Disks}}, nil
}

func (s *server) addDisk(ctx context.Context, in *struct {
	HostPath
	Body diskBody
},
) (*body[hostDiskView], error) {
	return s.diskAnswer(s.Hosts.AddDisk(ctx, principalOf(ctx), in.id(), in.Body.spec()))
}

func (s *server) diskAnswer(d host.Disk, err error) (*body[hostDiskView], error) {
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[hostDiskView]{viewHostDisk(d)}, nil
}

// DiskPath is the part of a path that names a disk of a host.
type DiskPath struct {
	HostPath
	Disk string `path:"disk" doc:"id of the disk"`
}

func (s *server) changeDisk(ctx context.Context, in *struct {
	DiskPath
	Body struct {
		Capacity    *int64            `json:"capacity,omitempty" doc:"bytes that may be given away; 0: not limited"`
		State       *host.DiskState   `json:"state,omitempty" doc:"available, reserved or error"`
		Enforcement *host.Enforcement `json:"enforcement,omitempty" doc:"none or loop; while nothing is on the disk"`
	}
},
) (*body[hostDiskView], error) {
	return s.diskAnswer(s.Hosts.ChangeDisk(ctx, principalOf(ctx), in.id(), host.DiskID(in.Disk), host.DiskChange{
		CapacityBytes: in.Body.Capacity, State: in.Body.State, Enforcement: in.Body.Enforcement,
	}))
}

func (s *server) deleteDisk(ctx context.Context, in *DiskPath) (*struct{}, error) {
	if err := s.Hosts.RemoveDisk(ctx, principalOf(ctx), in.id(), host.DiskID(in.Disk)); err != nil {
		return nil, s.fail(err)
	}
	return nil, nil
}

type templateOutput struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}

var templateTypes = map[string]string{"csv": csvType + "; charset=utf-8", "xlsx": xlsxType}

// templateContent describes the file in each format.
func templateContent() map[string]*huma.MediaType {
	return map[string]*huma.MediaType{
		csvType: {Schema: &huma.Schema{Type: huma.TypeString}}, xlsxType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
	}
}

const csvType = "text/csv"

const xlsxType = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

func (s *server) hostTemplate(ctx context.Context, in *struct {
	Format string `path:"format" enum:"csv,xlsx"`
},
) (*templateOutput, error) {
	if err := principalOf(ctx).MayAll(tenant.Operate); err != nil {
		return nil, s.fail(err)
	}
	file, err := s.Sheets.Template(in.Format)
	if err != nil {
		return nil, s.fail(err)
	}
	return &templateOutput{ContentType: templateTypes[in.Format], Disposition: `attachment; filename="berth-hosts.` + in.Format + `"`, Body: file}, nil
}

type branchView struct {
	Level     host.Level   `json:"level" enum:"region,zone,rack,host"`
	Name      string       `json:"name" doc:"- where nobody has said"`
	HostID    host.ID      `json:"host_id,omitempty"`
	Hosts     int          `json:"hosts"`
	Open      int          `json:"open" doc:"hosts that take instances now"`
	Instances int64        `json:"instances"`
	Branches  []branchView `json:"branches,omitempty"`
}

func viewBranches(list []host.Branch) []branchView {
	out := make([]branchView, len(list))
	for i, b := range list {
		out[i] = branchView{Level: b.Level, Name: b.Name, HostID: b.Host, Hosts: b.Hosts, Open: b.Online, Instances: b.Units, Branches: viewBranches(b.Branches)}
	}
	return out
}

type hierarchyView struct {
	Items []branchView `json:"items" nullable:"false"`
}

func (s *server) getHierarchy(ctx context.Context, in *struct {
	Level int `query:"level" minimum:"1" maximum:"4" default:"1" doc:"where to begin: 1 regions, 2 zones, 3 racks, 4 hosts"`
	Depth int `query:"depth" minimum:"1" maximum:"4" default:"4" doc:"how many levels"`
},
) (*body[hierarchyView], error) {
	list, err := s.Hosts.Hierarchy(ctx, principalOf(ctx), host.Levels()[in.Level-1], in.Depth)
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[hierarchyView]{hierarchyView{viewBranches(list)}}, nil
}

type stockView struct {
	Group  string         `json:"group"`
	Hosts  int            `json:"hosts"`
	Open   int            `json:"open" doc:"hosts that take instances now"`
	CPU    float64        `json:"cpu" doc:"cores that are free; -1: not limited"`
	Memory int64          `json:"memory" doc:"bytes that are free; -1: not limited"`
	Disk   int64          `json:"disk" doc:"bytes that are free; -1: not limited"`
	Disks  int            `json:"disks" doc:"disks that take data"`
	Fits   map[string]int `json:"fits" doc:"how many instances of each engine and plan still fit; -1: not limited"`
}

type stocksView struct {
	Items []stockView `json:"items" nullable:"false"`
}

func (s *server) getStocks(ctx context.Context, in *struct {
	GroupBy string `query:"group_by" enum:"region,zone,rack,host" default:"region"`
},
) (*body[stocksView], error) {
	list, err := s.Hosts.Stocks(ctx, principalOf(ctx), host.Level(in.GroupBy), sizesOf(s.Service.Catalog()))
	if err != nil {
		return nil, s.fail(err)
	}
	out := stocksView{Items: make([]stockView, len(list))}
	for i, g := range list {
		cpu := float64(g.CPUMillis) / 1000
		if g.CPUMillis < 0 {
			cpu = -1
		}
		out.Items[i] = stockView{g.Group, g.Hosts, g.Open, cpu, g.MemoryBytes, g.DiskBytes, g.Disks, g.Fits}
	}
	return &body[stocksView]{out}, nil
}

// sizesOf gives the plans of all engines.
func sizesOf(engines instance.Catalog) []host.Size {
	var sizes []host.Size
	for _, engine := range engines {
		e := engine.Describe()
		for _, p := range e.Plans {
			sizes = append(sizes, host.Size{Name: e.Name + "/" + p.Name, Resources: p.Resources, Ports: engine.Ports(false)})
		}
	}
	return sizes
}

type tryBody struct {
	Engine      string         `json:"engine,omitempty" doc:"engine whose plan is meant; default: what is asked for in resources"`
	Plan        string         `json:"plan,omitempty"`
	Resources   *resourcesBody `json:"resources,omitempty"`
	Count       int            `json:"count,omitempty" minimum:"1" maximum:"100" doc:"number of instances, all or none; default: 1"`
	Placement   *placementBody `json:"placement,omitempty"`
	CommonPorts int            `json:"common_ports,omitempty" minimum:"1" maximum:"100" doc:"find so many ports in a row that are free on every host of placement.region, instead"`
}

type tryView struct {
	Hosts     []placedView `json:"hosts" nullable:"false"`
	FirstPort int          `json:"first_port,omitempty" doc:"first of the common ports"`
}

type placedView struct {
	ID     host.ID `json:"id"`
	Name   string  `json:"name"`
	Region string  `json:"region,omitempty"`
	Zone   string  `json:"zone,omitempty"`
	Rack   string  `json:"rack,omitempty"`
}

func (s *server) tryPlacement(ctx context.Context, in *struct{ Body tryBody }) (*body[tryView], error) {
	b, p := in.Body, principalOf(ctx)
	var (
		hosts []host.Host
		out   tryView
		err   error
	)
	if b.CommonPorts > 0 {
		out.FirstPort, hosts, err = s.Hosts.CommonPorts(ctx, p, b.Placement.where().Region, b.CommonPorts)
	} else {
		var need host.Need
		if need, err = b.need(s.Service.Catalog(), p); err == nil {
			hosts, err = s.Hosts.Try(ctx, p, need, max(b.Count, 1))
		}
	}
	if err != nil {
		return nil, s.fail(err)
	}
	out.Hosts = make([]placedView, len(hosts))
	for i, h := range hosts {
		out.Hosts[i] = placedView{h.ID, h.Name, h.Region, h.Zone, h.Rack}
	}
	return &body[tryView]{out}, nil
}

// need gives what an instance of the plan needs.
func (b tryBody) need(engines instance.Catalog, p tenant.Principal) (host.Need, error) {
	n := host.Need{Tenant: p.Tenant, Ports: 1, Where: b.Placement.where()}
	n.Where.Reserved = n.Where.Host != ""
	if b.Engine != "" {
		engine, err := engines.Find(b.Engine)
		if err != nil {
			return n, err
		}
		plan, ok := engine.Describe().Plan(b.Plan)
		if !ok {
			return n, wrongField("plan", "unknown plan of "+b.Engine)
		}
		n.Resources, n.Ports = plan.Resources, engine.Ports(false)
	}
	asked := b.Resources.request()
	for _, r := range []struct{ from, to *int64 }{
		{asked.CPUMillis, &n.Resources.CPUMillis}, {asked.MemoryBytes, &n.Resources.MemoryBytes}, {asked.DiskBytes, &n.Resources.DiskBytes},
	} {
		if r.from != nil {
			*r.to = max(*r.from, 0)
		}
	}
	return n, nil
}

type placeView struct {
	Region string   `json:"region"`
	Name   string   `json:"name,omitempty" doc:"name for people"`
	Zones  []string `json:"zones" nullable:"false"`
}

type placesView struct {
	Items []placeView `json:"items" nullable:"false"`
}

func viewPlaces(list []host.Place) placesView {
	out := placesView{Items: []placeView{}}
	for _, p := range list { // a region comes before its zones
		if p.Zone == "" {
			out.Items = append(out.Items, placeView{Region: p.Region, Name: p.Name, Zones: []string{}})
			continue
		}
		last := &out.Items[len(out.Items)-1]
		last.Zones = append(last.Zones, p.Zone)
	}
	return out
}

func (s *server) regionRoutes(h huma.API) {
	op := operations("hosts", basePath+"/regions")
	huma.Register(h, op("list-regions", http.MethodGet, "", "List regions with their zones", tenant.Operate, 200), func(ctx context.Context, _ *struct{}) (*body[placesView], error) {
		list, err := s.Hosts.Places(ctx, principalOf(ctx))
		if err != nil {
			return nil, s.fail(err)
		}
		return &body[placesView]{viewPlaces(list)}, nil
	})
	huma.Register(h, op("add-region", http.MethodPost, "", "Add a region with zones, or zones to one", tenant.Operate, 201, 422), func(ctx context.Context, in *struct{ Body placeView }) (*body[placesView], error) {
		list, err := s.Hosts.AddPlace(ctx, principalOf(ctx), in.Body.Region, in.Body.Name, in.Body.Zones)
		if err != nil {
			return nil, s.fail(err)
		}
		return &body[placesView]{viewPlaces(list)}, nil
	})
}
