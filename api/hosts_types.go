package api

import (
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/secret"
)

type hostView struct {
	ID          host.ID           `json:"id"`
	Name        string            `json:"name"`
	Source      host.Source       `json:"source" enum:"environment,pool" doc:"environment: registered by the settings of its workers"`
	State       host.State        `json:"state" enum:"importing,online,cordoned,draining,failed,deleting,deleted"`
	Reason      string            `json:"reason,omitempty" doc:"why the host is in this state"`
	Health      host.Health       `json:"health" enum:"healthy,unreachable,disk_full"`
	HealthNote  string            `json:"health_note,omitempty"`
	HealthSince stamp             `json:"health_since,omitempty"`
	Reserved    bool              `json:"reserved" doc:"nothing is placed on the host that does not name it"`
	Address     string            `json:"address" doc:"address that tenants connect to"`
	Endpoint    string            `json:"endpoint" doc:"address of the engine"`
	HostKey     string            `json:"host_key,omitempty" doc:"public key that the machine must show by SSH"`
	Ports       portsView         `json:"ports"`
	Region      string            `json:"region,omitempty"`
	Zone        string            `json:"zone,omitempty"`
	Rack        string            `json:"rack,omitempty"`
	Arch        string            `json:"arch,omitempty"`
	Purpose     string            `json:"purpose,omitempty"`
	Labels      map[string]string `json:"labels"`
	Engine      string            `json:"engine,omitempty" doc:"what the engine calls itself"`
	Found       *foundView        `json:"found,omitempty" doc:"what was found on the machine; absent until it was looked at"`
	Overcommit  overcommitView    `json:"overcommit"`
	Capacity    amountsView       `json:"capacity" doc:"what the host has to give away; 0: not limited"`
	Used        usedView          `json:"used" doc:"what instances hold"`
	Disks       []hostDiskView    `json:"disks" nullable:"false"`
	Checks      []checkView       `json:"checks,omitempty" doc:"what the last look at the machine found"`
	JobID       id.Job            `json:"job_id,omitempty" doc:"job that is at the host"`
	CreatedAt   stamp             `json:"created_at,omitempty"`
	UpdatedAt   stamp             `json:"updated_at,omitempty"`
}

type portsView struct {
	First int `json:"first" minimum:"1024" maximum:"65535"`
	Last  int `json:"last" minimum:"1024" maximum:"65535"`
}

type foundView struct {
	CPU           float64 `json:"cpu" doc:"cores"`
	Memory        int64   `json:"memory" doc:"bytes"`
	OS            string  `json:"os"`
	Kernel        string  `json:"kernel"`
	EngineVersion string  `json:"engine_version"`
	StorageDriver string  `json:"storage_driver"`
	At            stamp   `json:"at"`
}

type overcommitView struct {
	CPUPercent     int     `json:"cpu_percent" doc:"share of the cores that is given away; 0: not limited"`
	MemoryPercent  int     `json:"memory_percent" doc:"share of the memory that is given away; 0: not limited"`
	ReservedCPU    float64 `json:"reserved_cpu" doc:"cores kept for the system"`
	ReservedMemory int64   `json:"reserved_memory" doc:"bytes kept for the system"`
}

func viewOvercommit(o host.Overcommit) overcommitView {
	return overcommitView{o.CPUPercent, o.MemoryPercent, float64(o.CPUMillis) / 1000, o.MemoryBytes}
}

func (v overcommitView) overcommit() host.Overcommit {
	return host.Overcommit{CPUPercent: v.CPUPercent, MemoryPercent: v.MemoryPercent, CPUMillis: int64(v.ReservedCPU * 1000), MemoryBytes: v.ReservedMemory}
}

type amountsView struct {
	CPU    float64 `json:"cpu" doc:"cores"`
	Memory int64   `json:"memory" doc:"bytes"`
}

type usedView struct {
	CPU       float64 `json:"cpu" doc:"cores"`
	Memory    int64   `json:"memory" doc:"bytes"`
	Instances int64   `json:"instances"`
}

type hostDiskView struct {
	ID          host.DiskID      `json:"id"`
	Path        string           `json:"path" doc:"folder on the host; empty: the engine's own"`
	Type        host.DiskType    `json:"type,omitempty" enum:"nvme,ssd,hdd"`
	Capacity    int64            `json:"capacity" doc:"bytes that may be given away; 0: not limited"`
	Used        int64            `json:"used" doc:"bytes that instances hold"`
	Instances   int64            `json:"instances"`
	State       host.DiskState   `json:"state" enum:"available,reserved,full,error"`
	Enforcement host.Enforcement `json:"enforcement" enum:"none,quota,loop" doc:"none: what instances write is measured; quota: the engine's volume driver refuses more, as was found; loop: each instance has a file system of its own, which is taken from the capacity as a whole"`
}

func viewHostDisk(d host.Disk) hostDiskView {
	return hostDiskView{
		ID: d.ID, Path: d.Path, Type: d.Type, Capacity: d.CapacityBytes, Used: d.UsedBytes, Instances: d.Units, State: d.State, Enforcement: d.Enforcement,
	}
}

type checkView struct {
	Name    string       `json:"name"`
	Verdict host.Verdict `json:"verdict" enum:"pass,warn,fail"`
	Found   string       `json:"found"`
	Wanted  string       `json:"wanted"`
	Advice  string       `json:"advice,omitempty"`
}

func viewHost(v host.View) hostView {
	h := v.Host
	view := hostView{
		ID: h.ID, Name: h.Name, Source: h.Source, State: h.State, Reason: h.Reason, Health: h.Health, HealthNote: h.HealthNote,
		HealthSince: at(h.HealthSince), Reserved: h.Reserved, Address: h.Advertise, Endpoint: h.Endpoint, HostKey: h.HostKey,
		Ports: portsView{h.PortLow, h.PortHigh}, Region: h.Region, Zone: h.Zone, Rack: h.Rack, Arch: h.Arch, Purpose: h.Purpose, Labels: h.Labels,
		Engine: h.Engine, Overcommit: viewOvercommit(h.Capacity.Overcommit),
		Capacity: amountsView{float64(h.Capacity.CPUMillis) / 1000, h.Capacity.MemoryBytes},
		Used:     usedView{float64(h.Used.CPUMillis) / 1000, h.Used.MemoryBytes, h.Used.Units},
		Disks:    make([]hostDiskView, len(v.Disks)), JobID: v.Job, CreatedAt: at(h.CreatedAt), UpdatedAt: at(h.UpdatedAt),
	}
	if view.Labels == nil {
		view.Labels = map[string]string{}
	}
	if f := h.Found; !f.At.IsZero() {
		view.Found = &foundView{float64(f.CPUMillis) / 1000, f.MemoryBytes, f.OS, f.Kernel, f.EngineVersion, f.StorageDriver, at(f.At)}
	}
	for i, d := range v.Disks {
		view.Disks[i] = viewHostDisk(d)
	}
	for _, c := range h.Checks {
		view.Checks = append(view.Checks, checkView(c))
	}
	return view
}

// hostBody is a machine that is to be a host.
type hostBody struct {
	Name         string            `json:"name" doc:"unique: a-z, 0-9, - and ., up to 63 characters"`
	Address      string            `json:"address" doc:"IP address or host name that tenants reach"`
	Endpoint     string            `json:"endpoint,omitempty" doc:"how the engine is reached: ssh://USER@ADDRESS[:PORT], tcp://ADDRESS:PORT, unix:///PATH; default: ssh://USER@ADDRESS" example:"ssh://root@10.0.0.7"`
	User         string            `json:"user,omitempty" doc:"user to log in as by SSH"`
	Password     string            `json:"password,omitempty" doc:"password of the user, for the first login; it is forgotten then. Absent: the machine takes Berth's key already" writeOnly:"true"`
	HostKey      string            `json:"host_key,omitempty" doc:"public key that the machine must show; default: the one that it shows first is kept" example:"ssh-ed25519 AAAA…"`
	Certificates *certificatesBody `json:"certificates,omitempty" doc:"what proves Berth to an engine that is reached by TCP"`
	Region       string            `json:"region"`
	Zone         string            `json:"zone"`
	Rack         string            `json:"rack,omitempty"`
	Arch         string            `json:"arch,omitempty" doc:"amd64 or arm64; default: what is found"`
	Purpose      string            `json:"purpose,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Disks        []diskBody        `json:"disks,omitempty" doc:"folders that data may be in; default: the engine's own"`
}

type certificatesBody struct {
	CA   string `json:"ca" doc:"PEM"`
	Cert string `json:"cert" doc:"PEM"`
	Key  string `json:"key" doc:"PEM" writeOnly:"true"`
}

func (b certificatesBody) certificates() host.Certificates {
	return host.Certificates{CA: b.CA, Cert: b.Cert, Key: secret.New(b.Key)}
}

type diskBody struct {
	Name        string           `json:"name,omitempty"`
	Path        string           `json:"path" doc:"absolute path of the folder on the host"`
	Type        host.DiskType    `json:"type" doc:"nvme, ssd or hdd"`
	Capacity    int64            `json:"capacity" doc:"bytes that may be given away"`
	State       string           `json:"state,omitempty" doc:"Available (the default), Reserved or Error"`
	Enforcement host.Enforcement `json:"enforcement,omitempty" doc:"none (the default) or loop: each instance gets a file system of its own; for hosts that are reached by SSH"`
}

func (b diskBody) spec() host.DiskSpec {
	return host.DiskSpec{Name: b.Name, Path: b.Path, Type: b.Type, CapacityBytes: b.Capacity, State: b.State, Enforcement: b.Enforcement}
}

func (b hostBody) candidate() host.Candidate {
	c := host.Candidate{
		Name: b.Name, Address: b.Address, Endpoint: b.Endpoint, User: b.User, Password: secret.New(b.Password), HostKey: b.HostKey, Region: b.Region,
		Zone: b.Zone, Rack: b.Rack, Arch: b.Arch, Purpose: b.Purpose, Labels: b.Labels,
	}
	if b.Certificates != nil {
		c.Certificates = b.Certificates.certificates()
	}
	for _, d := range b.Disks {
		c.Disks = append(c.Disks, d.spec())
	}
	return c
}

// ImportInput says how machines become hosts.
type ImportInput struct {
	DryRun         bool     `query:"dry_run" doc:"only check what was sent; nothing is accepted"`
	SkipInit       bool     `query:"skip_init" doc:"the machines are prepared already: do not log in, check or install"`
	Reserved       bool     `query:"reserved" doc:"place nothing on the hosts that does not name them"`
	IgnoreWarnings bool     `query:"ignore_warnings" doc:"go on where a check warns"`
	Prepare        []string `query:"prepare" doc:"what Berth may mend on the machines, comma-separated: docker, numactl, swap_off, sysctls, mount_options; default: nothing"`
}

func (in ImportInput) options() (host.ImportOptions, error) {
	o := host.ImportOptions{IgnoreWarnings: in.IgnoreWarnings, SkipInit: in.SkipInit, Reserved: in.Reserved}
	for _, name := range in.Prepare {
		fix, err := host.ParseFix(name)
		if err != nil {
			return o, wrongField("prepare", err.Error())
		}
		o.Prepare = append(o.Prepare, fix)
	}
	return o, nil
}

type placementBody struct {
	Region   string            `json:"region,omitempty"`
	Zone     string            `json:"zone,omitempty"`
	Rack     string            `json:"rack,omitempty"`
	Host     string            `json:"host,omitempty" doc:"id or name of the host"`
	Arch     string            `json:"arch,omitempty"`
	Labels   map[string]string `json:"labels,omitempty" doc:"labels that the host has"`
	DiskType host.DiskType     `json:"disk_type,omitempty" doc:"nvme, ssd or hdd"`
	Group    string            `json:"group,omitempty" doc:"name of what is kept apart, within the tenant"`
	Spread   host.Level        `json:"spread,omitempty" doc:"host, rack or zone: keep the instances of the group on different ones, as far as there are"`
	Strict   bool              `json:"strict,omitempty" doc:"refuse what would be beside another instance of the group"`
}

func (b *placementBody) where() host.Where {
	if b == nil {
		return host.Where{}
	}
	return host.Where{
		Region: b.Region, Zone: b.Zone, Rack: b.Rack, Host: b.Host, Arch: b.Arch, Labels: b.Labels, DiskType: b.DiskType, Group: b.Group, Spread: b.Spread,
		Strict: b.Strict,
	}
}
