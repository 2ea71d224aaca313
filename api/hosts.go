package api

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
)

// Sheets are the files that hosts are imported from.
type Sheets interface {
	// Read gives a candidate for each row, and all that is wrong with them by themselves. The error
	// is about the file as a whole.
	Read(r io.Reader, name string) ([]host.Candidate, []fault.FieldError, error)
	// Template gives the empty file, in the format "csv" or "xlsx".
	Template(format string) ([]byte, error)
}

// HostPath is the part of a path that names a host.
type HostPath struct {
	ID string `path:"id" doc:"id of the host"`
}

func (p HostPath) id() host.ID { return host.ID(p.ID) }

const importOperation = "import-hosts"

func (s *server) hostRoutes(h huma.API) {
	if s.Hosts == nil {
		return
	}
	op := operations("hosts", basePath+"/hosts")
	operate := tenant.Operate
	huma.Register(h, op("list-hosts", http.MethodGet, "", "List hosts, newest first", operate, 200), s.listHosts)
	huma.Register(h, op("add-host", http.MethodPost, "", "Import a machine as a host (asynchronous)", operate, 202, 409, 422, 503), s.addHost)
	imports := op(importOperation, http.MethodPost, "/import", "Import machines as hosts, all or none: a JSON array, or the file as CSV or xlsx (asynchronous)", operate, 202, 409, 413, 415, 422, 503)
	imports.Description = "The body is a JSON array, or the filled-in template: as `text/csv`, as an xlsx workbook, or as the field `file` of `multipart/form-data`. " +
		"Every row that is wrong is named at once, numbered as a spreadsheet shows it, and nothing is imported. With `?dry_run=true` the response has no job."
	huma.Register(h, imports, s.importHosts)
	huma.Register(h, op("take-over-host", http.MethodPost, "/takeover", "Import a machine that has instances of this deployment already, as a reserved host (asynchronous)", operate, 202, 409, 422, 503), s.takeOverHost)
	template := op("get-host-template", http.MethodGet, "/template.{format}", "Get the empty file to import hosts from", operate, 200, 404, 422)
	template.Responses = map[string]*huma.Response{"200": {Description: "the file", Content: templateContent()}}
	huma.Register(h, template, s.hostTemplate)
	for kind, media := range templateContent() {
		h.OpenAPI().Paths[imports.Path].Post.RequestBody.Content[kind] = media
	}
	huma.Register(h, op("get-host-key", http.MethodGet, "/key", "Get the line of authorized_keys by which Berth logs in to machines", operate, 200), s.getHostKey)
	huma.Register(h, op("get-hierarchy", http.MethodGet, "/hierarchy", "Get the pool as regions, zones, racks and hosts", operate, 200), s.getHierarchy)
	huma.Register(h, op("get-stocks", http.MethodGet, "/stocks", "Get what is free, and how many instances of each plan still fit", operate, 200), s.getStocks)
	huma.Register(h, op("try-placement", http.MethodPost, "/placement", "Get the hosts that instances would be placed on; nothing is placed", operate, 200, 404, 409, 422, 503), s.tryPlacement)
	huma.Register(h, op("reserve-hosts", http.MethodPut, "/reserved", "Reserve hosts, or end that", operate, 200, 404, 409, 422), s.reserveHosts)
	huma.Register(h, op("set-host-status", http.MethodPut, "/status", "Cordon hosts, or bring them online", operate, 200, 404, 409, 422), s.setHostStatus)
	huma.Register(h, op("delete-hosts", http.MethodDelete, "", "Delete hosts (asynchronous)", operate, 202, 404, 409, 422), s.deleteHosts)
	huma.Register(h, op("get-host", http.MethodGet, "/{id}", "Get a host", operate, 200, 404), s.getHost)
	huma.Register(h, op("change-host", http.MethodPatch, "/{id}", "Change a host", operate, 200, 404, 409, 422), s.changeHost)
	huma.Register(h, op("delete-host", http.MethodDelete, "/{id}", "Delete a host that nothing is on (asynchronous)", operate, 202, 404, 409, 422), s.deleteHost)
	huma.Register(h, op("cordon-host", http.MethodPost, "/{id}/cordon", "Place nothing on a host any more", operate, 200, 404, 409), func(ctx context.Context, in *HostPath) (*body[hostView], error) {
		return s.oneHost(s.Hosts.Cordon(ctx, principalOf(ctx), true, in.id()))
	})
	huma.Register(h, op("uncordon-host", http.MethodPost, "/{id}/uncordon", "Place instances on a host again", operate, 200, 404, 409), func(ctx context.Context, in *HostPath) (*body[hostView], error) {
		return s.oneHost(s.Hosts.Cordon(ctx, principalOf(ctx), false, in.id()))
	})
	huma.Register(h, op("drain-host", http.MethodPost, "/{id}/drain", "Cordon a host and move away what can be moved (asynchronous)", operate, 202, 404, 409), func(ctx context.Context, in *HostPath) (*jobAcceptedOutput, error) {
		return s.hostJob(s.Hosts.Drain(ctx, principalOf(ctx), in.id()))
	})
	huma.Register(h, op("inspect-host", http.MethodPost, "/{id}/inspect", "Check a host's machine and its books (asynchronous)", operate, 202, 404, 409), func(ctx context.Context, in *HostPath) (*jobAcceptedOutput, error) {
		return s.hostJob(s.Hosts.Inspect(ctx, principalOf(ctx), in.id()))
	})
	huma.Register(h, op("list-host-instances", http.MethodGet, "/{id}/instances", "List what is on a host", operate, 200, 404, 422), s.hostInstances)
	huma.Register(h, op("list-disks", http.MethodGet, "/{id}/disks", "List the disks of a host", operate, 200, 404), s.listDisks)
	huma.Register(h, op("add-disk", http.MethodPost, "/{id}/disks", "Add a disk to a host", operate, 201, 404, 422), s.addDisk)
	huma.Register(h, op("change-disk", http.MethodPatch, "/{id}/disks/{disk}", "Change a disk, or mark it as bad", operate, 200, 404, 409, 422), s.changeDisk)
	huma.Register(h, op("delete-disk", http.MethodDelete, "/{id}/disks/{disk}", "Remove a disk that nothing is on", operate, 204, 404, 409), s.deleteDisk)
	s.regionRoutes(h)
	s.swarmRoutes(h)
}

func (s *server) hostAnswer(v host.View, err error) (*body[hostView], error) {
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[hostView]{viewHost(v)}, nil
}

func (s *server) oneHost(list []host.View, err error) (*body[hostView], error) {
	if err != nil {
		return nil, s.fail(err)
	}
	return s.hostAnswer(list[0], nil)
}

func (s *server) hostList(list []host.View, err error) (*body[pageView[hostView]], error) {
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[pageView[hostView]]{viewPage(list, "", viewHost)}, nil
}

func (s *server) hostJob(j job.Job, err error) (*jobAcceptedOutput, error) {
	if err != nil {
		return nil, s.fail(err)
	}
	return &jobAcceptedOutput{Location: jobPath(j.ID), RetryAfter: 1, Body: viewJob(j)}, nil
}

type listHostsInput struct {
	PageInput
	State    string   `query:"state" enum:"importing,online,cordoned,draining,failed,deleting"`
	Health   string   `query:"health" enum:"healthy,unreachable,disk_full"`
	Region   string   `query:"region" maxLength:"63"`
	Zone     string   `query:"zone" maxLength:"63"`
	Rack     string   `query:"rack" maxLength:"63"`
	Arch     string   `query:"arch" maxLength:"63"`
	Purpose  string   `query:"purpose" maxLength:"128"`
	Name     string   `query:"name" maxLength:"63"`
	Reserved string   `query:"reserved" enum:"true,false"`
	Label    []string `query:"label,explode" doc:"name=value; repeatable, all must match"`
}

func (in *listHostsInput) filter() (host.Filter, error) {
	f := host.Filter{
		State: host.State(in.State), Health: host.Health(in.Health), Region: in.Region, Zone: in.Zone, Rack: in.Rack, Arch: in.Arch, Purpose: in.Purpose,
		Name: in.Name, Labels: map[string]string{},
	}
	if in.Reserved != "" {
		reserved := in.Reserved == "true"
		f.Reserved = &reserved
	}
	for _, label := range in.Label {
		name, value, ok := strings.Cut(label, "=")
		if !ok || name == "" {
			return f, wrongField("label", "must be name=value")
		}
		f.Labels[name] = value
	}
	return f, nil
}

func (s *server) listHosts(ctx context.Context, in *listHostsInput) (*body[pageView[hostView]], error) {
	filter, err := in.filter()
	if err != nil {
		return nil, s.fail(err)
	}
	list, next, err := s.Hosts.Hosts(ctx, principalOf(ctx), filter, in.page())
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[pageView[hostView]]{viewPage(list, next, viewHost)}, nil
}

func (s *server) getHost(ctx context.Context, in *HostPath) (*body[hostView], error) {
	return s.hostAnswer(s.Hosts.Host(ctx, principalOf(ctx), in.id()))
}

type keyLineView struct {
	AuthorizedKey string `json:"authorized_key" doc:"add it to ~/.ssh/authorized_keys of the user that Berth is to log in as, where no password is to be given"`
}

func (s *server) getHostKey(ctx context.Context, _ *struct{}) (*body[keyLineView], error) {
	line, err := s.Hosts.KeyLine(ctx, principalOf(ctx))
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[keyLineView]{keyLineView{line}}, nil
}

type importedView struct {
	Job   *jobView  `json:"job,omitempty" doc:"job that waits for the import of all hosts; absent after a dry run"`
	Hosts []host.ID `json:"hosts" nullable:"false"`
	Count int       `json:"count" doc:"number of hosts"`
}

type importedOutput struct {
	Location string `header:"Location" doc:"path of the job; absent after a dry run"`
	Replayed string `header:"Idempotency-Replayed" doc:"true if an earlier request with this Idempotency-Key was accepted; the response has its job"`
	Body     importedView
}

func (s *server) imported(ctx context.Context, made host.Imported, again bool) (*importedOutput, error) {
	j, err := s.Service.Job(ctx, principalOf(ctx), made.Job.ID)
	if err != nil {
		return nil, s.fail(err)
	}
	v := viewJob(j)
	return &importedOutput{Location: jobPath(j.ID), Replayed: replayed(again), Body: importedView{Job: &v, Hosts: made.Hosts, Count: len(made.Hosts)}}, nil
}

func (s *server) addHost(ctx context.Context, in *struct {
	KeyInput
	ImportInput
	Body hostBody
},
) (*importedOutput, error) {
	return s.importList(ctx, in.IdempotencyKey, "POST /hosts", in.ImportInput, []host.Candidate{in.Body.candidate()}, nil)
}

func (s *server) importHosts(ctx context.Context, in *struct {
	KeyInput
	ImportInput
	Body []hostBody
},
) (*importedOutput, error) {
	if up := uploadOf(ctx); up != nil {
		list, wrong, err := s.Sheets.Read(strings.NewReader(string(up.data)), up.name)
		if err != nil {
			return nil, s.fail(err)
		}
		return s.importList(ctx, in.IdempotencyKey, "POST /hosts/import", in.ImportInput, list, wrong)
	}
	list := make([]host.Candidate, len(in.Body))
	for i, b := range in.Body {
		list[i] = b.candidate()
	}
	return s.importList(ctx, in.IdempotencyKey, "POST /hosts/import", in.ImportInput, list, nil)
}

func (s *server) importList(ctx context.Context, key, operation string, in ImportInput, list []host.Candidate, wrong []fault.FieldError) (*importedOutput, error) {
	options, err := in.options()
	if err != nil {
		return nil, s.fail(err)
	}
	if in.DryRun {
		if err := s.Hosts.CheckImport(ctx, principalOf(ctx), list, wrong, options); err != nil {
			return nil, s.fail(err)
		}
		return &importedOutput{Body: importedView{Hosts: []host.ID{}, Count: len(list)}}, nil
	}
	// What tells a repeated request from another one has no password in it, nor a digest of one.
	idem, done, err := s.keyedBody(ctx, key, operation, []any{in, list})
	if err != nil {
		return nil, err
	}
	defer done()
	made, again, err := s.Hosts.Import(ctx, principalOf(ctx), list, wrong, options, idem)
	if err != nil {
		return nil, s.fail(err)
	}
	return s.imported(ctx, made, again)
}

type hostAcceptedOutput struct {
	Location string `header:"Location" doc:"path of the job"`
	Body     struct {
		Host hostView `json:"host"`
		Job  jobView  `json:"job"`
	}
}

func (s *server) takeOverHost(ctx context.Context, in *struct{ Body hostBody }) (*hostAcceptedOutput, error) {
	h, j, err := s.Hosts.Takeover(ctx, principalOf(ctx), in.Body.candidate())
	if err != nil {
		return nil, s.fail(err)
	}
	out := &hostAcceptedOutput{Location: jobPath(j.ID)}
	out.Body.Host, out.Body.Job = viewHost(host.View{Host: h, Job: j.ID}), viewJob(j)
	return out, nil
}

type changeHostBody struct {
	Name       *string            `json:"name,omitempty"`
	Purpose    *string            `json:"purpose,omitempty"`
	Labels     *map[string]string `json:"labels,omitempty" doc:"replaces all labels"`
	HostKey    *string            `json:"host_key,omitempty" doc:"public key that the machine must show from now on"`
	Region     *string            `json:"region,omitempty" doc:"only while nothing is on the host, as zone, rack, address and endpoint; the endpoint's user and port always"`
	Zone       *string            `json:"zone,omitempty"`
	Rack       *string            `json:"rack,omitempty"`
	Address    *string            `json:"address,omitempty"`
	Endpoint   *string            `json:"endpoint,omitempty"`
	Ports      *portsView         `json:"ports,omitempty"`
	Overcommit *overcommitView    `json:"overcommit,omitempty"`

	Certificates *certificatesBody `json:"certificates,omitempty" doc:"replace those that prove Berth to an engine that is reached by TCP"`
}

func (s *server) changeHost(ctx context.Context, in *struct {
	HostPath
	Body changeHostBody
},
) (*body[hostView], error) {
	b := in.Body
	c := host.Change{
		Name: b.Name, Purpose: b.Purpose, Labels: b.Labels, HostKey: b.HostKey, Region: b.Region, Zone: b.Zone, Rack: b.Rack, Address: b.Address, Endpoint: b.Endpoint,
	}
	if b.Ports != nil {
		c.PortLow, c.PortHigh = &b.Ports.First, &b.Ports.Last
	}
	if b.Overcommit != nil {
		o := b.Overcommit.overcommit()
		c.Overcommit = &o
	}
	if b.Certificates != nil {
		certificates := b.Certificates.certificates()
		c.Certificates = &certificates
	}
	return s.hostAnswer(s.Hosts.ChangeHost(ctx, principalOf(ctx), in.id(), c))
}

func (s *server) deleteHost(ctx context.Context, in *struct {
	HostPath
	Force bool `query:"force" doc:"delete the rows at once, and by force what is on the host: for a machine that will not be back"`
},
) (*jobAcceptedOutput, error) {
	jobs, err := s.Hosts.Delete(ctx, principalOf(ctx), in.Force, in.id())
	if err != nil {
		return nil, s.fail(err)
	}
	return s.hostJob(jobs[0], nil)
}

func (s *server) reserveHosts(ctx context.Context, in *struct {
	Body struct {
		Hosts    []host.ID `json:"hosts" minItems:"1" maxItems:"500"`
		Reserved bool      `json:"reserved"`
	}
},
) (*body[pageView[hostView]], error) {
	return s.hostList(s.Hosts.Reserve(ctx, principalOf(ctx), in.Body.Reserved, in.Body.Hosts...))
}

func (s *server) setHostStatus(ctx context.Context, in *struct {
	Body struct {
		Hosts  []host.ID  `json:"hosts" minItems:"1" maxItems:"500"`
		Status host.State `json:"status" enum:"online,cordoned"`
	}
},
) (*body[pageView[hostView]], error) {
	return s.hostList(s.Hosts.Cordon(ctx, principalOf(ctx), in.Body.Status == host.StateCordoned, in.Body.Hosts...))
}

type jobsView struct {
	Items []jobView `json:"items" nullable:"false"`
}

func (s *server) deleteHosts(ctx context.Context, in *struct {
	Host  []string `query:"host,explode" minItems:"1" maxItems:"100" required:"true" doc:"id of a host; repeatable"`
	Force bool     `query:"force"`
},
) (*body[jobsView], error) {
	all := make([]host.ID, len(in.Host))
	for i, which := range in.Host {
		all[i] = host.ID(which)
	}
	jobs, err := s.Hosts.Delete(ctx, principalOf(ctx), in.Force, all...)
	if err != nil {
		return nil, s.fail(err)
	}
	out := jobsView{Items: make([]jobView, len(jobs))}
	for i, j := range jobs {
		out.Items[i] = viewJob(j)
	}
	return &body[jobsView]{out}, nil
}

type onHostView struct {
	ID        host.UnitID   `json:"id" doc:"id of the instance"`
	TenantID  tenant.ID     `json:"tenant_id"`
	Resources resourcesView `json:"resources"`
	Disk      host.DiskID   `json:"disk,omitempty"`
	Ports     int           `json:"ports" doc:"number of ports"`
	Group     string        `json:"group,omitempty"`
	JobID     id.Job        `json:"job_id,omitempty" doc:"job that placed it"`
	CreatedAt stamp         `json:"created_at"`
}

type onHostPage struct {
	Items     []onHostView `json:"items" nullable:"false"`
	NextAfter host.UnitID  `json:"next_after,omitempty" doc:"pass it as ?after= for the next page; absent on the last"`
}

func (s *server) hostInstances(ctx context.Context, in *struct {
	HostPath
	After string `query:"after" maxLength:"40"`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
},
) (*body[onHostPage], error) {
	list, err := s.Hosts.Instances(ctx, principalOf(ctx), in.id(), host.UnitID(in.After), in.Limit)
	if err != nil {
		return nil, s.fail(err)
	}
	out := onHostPage{Items: make([]onHostView, len(list))}
	for i, a := range list {
		out.Items[i] = onHostView{
			ID: a.Unit, TenantID: a.Tenant, Resources: viewResources(a.Resources), Disk: a.Disk, Ports: a.Ports, Group: a.Holder, JobID: a.Job, CreatedAt: at(a.CreatedAt),
		}
	}
	if len(list) == in.Limit {
		out.NextAfter = list[len(list)-1].Unit
	}
	return &body[onHostPage]{out}, nil
}
