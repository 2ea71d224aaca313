package client

import "time"

// Host is a machine that instances are placed on.
type Host struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Source      string            `json:"source"` // environment, pool
	State       string            `json:"state"`
	Reason      string            `json:"reason,omitempty"` // why it is in that state
	Health      string            `json:"health"`
	HealthNote  string            `json:"health_note,omitempty"`
	HealthSince time.Time         `json:"health_since,omitzero"`
	Reserved    bool              `json:"reserved"`
	Address     string            `json:"address"`
	Endpoint    string            `json:"endpoint"`
	HostKey     string            `json:"host_key,omitempty"`
	Ports       PortRange         `json:"ports"`
	Region      string            `json:"region,omitempty"`
	Zone        string            `json:"zone,omitempty"`
	Rack        string            `json:"rack,omitempty"`
	Arch        string            `json:"arch,omitempty"`
	Purpose     string            `json:"purpose,omitempty"`
	Labels      map[string]string `json:"labels"`
	Engine      string            `json:"engine,omitempty"` // the id of its Docker engine
	Found       *HostFound        `json:"found,omitempty"`  // absent until somebody has looked
	Overcommit  Overcommit        `json:"overcommit"`
	Capacity    HostAmounts       `json:"capacity"` // 0: not limited
	Used        HostUsed          `json:"used"`
	Disks       []HostDisk        `json:"disks"`
	Checks      []HostCheck       `json:"checks,omitempty"`
	JobID       string            `json:"job_id,omitempty"` // that is at it
	CreatedAt   time.Time         `json:"created_at,omitzero"`
	UpdatedAt   time.Time         `json:"updated_at,omitzero"`
	document
}

// The states of a host that callers act on.
const (
	HostImporting = "importing"
	HostOnline    = "online"
	HostFailed    = "failed"
)

// PortRange is the ports that instances of a host may get.
type PortRange struct {
	First int `json:"first"`
	Last  int `json:"last"`
}

// HostFound is what was found on a machine when it was looked at last.
type HostFound struct {
	CPU           float64   `json:"cpu"`    // cores
	Memory        int64     `json:"memory"` // bytes
	OS            string    `json:"os"`
	Kernel        string    `json:"kernel"`
	EngineVersion string    `json:"engine_version"`
	StorageDriver string    `json:"storage_driver"`
	At            time.Time `json:"at"`
}

// Overcommit says how much of a machine is given away; a percentage of 0: all that is asked for.
type Overcommit struct {
	CPUPercent     int     `json:"cpu_percent"`
	MemoryPercent  int     `json:"memory_percent"`
	ReservedCPU    float64 `json:"reserved_cpu"`    // cores kept for the system
	ReservedMemory int64   `json:"reserved_memory"` // bytes kept for the system
}

// HostAmounts is what a host has to give away.
type HostAmounts struct {
	CPU    float64 `json:"cpu"`    // cores
	Memory int64   `json:"memory"` // bytes
}

// HostUsed is what instances hold of a host.
type HostUsed struct {
	CPU       float64 `json:"cpu"`    // cores
	Memory    int64   `json:"memory"` // bytes
	Instances int64   `json:"instances"`
}

// HostDisk is a folder of a host that data may be in.
type HostDisk struct {
	ID          string `json:"id"`
	Path        string `json:"path"` // empty: the engine's own folder
	Type        string `json:"type,omitempty"`
	Capacity    int64  `json:"capacity"` // bytes; 0: not limited
	Used        int64  `json:"used"`     // bytes
	Instances   int64  `json:"instances"`
	State       string `json:"state"`
	Enforcement string `json:"enforcement"` // none, quota, loop
}

// HostCheck is one thing that was looked at on a machine.
type HostCheck struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"` // pass, warn, fail
	Found   string `json:"found"`
	Wanted  string `json:"wanted"`
	Advice  string `json:"advice,omitempty"`
}

// HostRequest is a machine that is to be a host.
type HostRequest struct {
	Name         string            `json:"name"`
	Address      string            `json:"address"`
	Endpoint     string            `json:"endpoint,omitempty"` // empty: ssh://USER@ADDRESS
	User         string            `json:"user,omitempty"`
	Password     string            `json:"password,omitempty"` //nolint:gosec // it is sent once, for the first login
	HostKey      string            `json:"host_key,omitempty"`
	Certificates *HostCertificates `json:"certificates,omitempty"`
	Region       string            `json:"region"`
	Zone         string            `json:"zone"`
	Rack         string            `json:"rack,omitempty"`
	Arch         string            `json:"arch,omitempty"`
	Purpose      string            `json:"purpose,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Disks        []DiskRequest     `json:"disks,omitempty"`
}

// HostCertificates prove Berth to an engine that is reached by TCP, as PEM.
type HostCertificates struct {
	CA   string `json:"ca"`
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// DiskRequest is a disk that a host is to have.
type DiskRequest struct {
	Path     string `json:"path"`
	Type     string `json:"type"`
	Capacity int64  `json:"capacity"`        // bytes
	State    string `json:"state,omitempty"` // Available, Reserved, Error
	// Enforcement is none or loop; empty: none.
	Enforcement string `json:"enforcement,omitempty"`
}

// DiskChange is what changes of a disk; nil leaves it as it is.
type DiskChange struct {
	Capacity *int64  `json:"capacity,omitempty"` // bytes; 0: not limited
	State    *string `json:"state,omitempty"`    // available, reserved, error
	// Enforcement is none or loop.
	Enforcement *string `json:"enforcement,omitempty"`
}

// HostChange is what changes of a host; nil leaves it as it is.
type HostChange struct {
	Name       *string            `json:"name,omitempty"`
	Purpose    *string            `json:"purpose,omitempty"`
	Labels     *map[string]string `json:"labels,omitempty"` // all of them
	HostKey    *string            `json:"host_key,omitempty"`
	Region     *string            `json:"region,omitempty"`
	Zone       *string            `json:"zone,omitempty"`
	Rack       *string            `json:"rack,omitempty"`
	Address    *string            `json:"address,omitempty"`
	Endpoint   *string            `json:"endpoint,omitempty"`
	Ports      *PortRange         `json:"ports,omitempty"`
	Overcommit *Overcommit        `json:"overcommit,omitempty"`

	Certificates *HostCertificates `json:"certificates,omitempty"`
}

// Imported is the answer to an import.
type Imported struct {
	Job   *Job     `json:"job,omitempty"` // that waits for the job of each host; nil after a dry run
	Hosts []string `json:"hosts"`         // ids
	Count int      `json:"count"`
}

// HostAccepted is the answer to a takeover.
type HostAccepted struct {
	Host Host `json:"host"`
	Job  Job  `json:"job"`
}

// OnHost is what an instance holds of a host.
type OnHost struct {
	ID        string    `json:"id"`
	TenantID  string    `json:"tenant_id"`
	Resources Resources `json:"resources"`
	Disk      string    `json:"disk,omitempty"`
	Ports     int       `json:"ports"`
	Group     string    `json:"group,omitempty"`
	JobID     string    `json:"job_id,omitempty"` // that placed it
	CreatedAt time.Time `json:"created_at"`
}

// Branch is a part of the pool with what is in it.
type Branch struct {
	Level     string   `json:"level"`
	Name      string   `json:"name"`
	HostID    string   `json:"host_id,omitempty"`
	Hosts     int      `json:"hosts"`
	Open      int      `json:"open"` // that take instances now
	Instances int64    `json:"instances"`
	Branches  []Branch `json:"branches,omitempty"`
}

// Stock is what is free in a part of the pool; -1: not limited.
type Stock struct {
	Group  string         `json:"group"`
	Hosts  int            `json:"hosts"`
	Open   int            `json:"open"`
	CPU    float64        `json:"cpu"`    // cores
	Memory int64          `json:"memory"` // bytes
	Disk   int64          `json:"disk"`   // bytes
	Disks  int            `json:"disks"`
	Fits   map[string]int `json:"fits"` // by engine/plan: how many instances still fit
}

// Placement says where an instance is to be. What is empty is left to Berth.
type Placement struct {
	Region   string            `json:"region,omitempty"`
	Zone     string            `json:"zone,omitempty"`
	Rack     string            `json:"rack,omitempty"`
	Host     string            `json:"host,omitempty"` // id or name
	Arch     string            `json:"arch,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"` // of the host
	DiskType string            `json:"disk_type,omitempty"`
	Group    string            `json:"group,omitempty"`
	Spread   string            `json:"spread,omitempty"`
	Strict   bool              `json:"strict,omitempty"`
}

// TryRequest asks where instances would be placed.
type TryRequest struct {
	Engine    string     `json:"engine,omitempty"`
	Plan      string     `json:"plan,omitempty"`
	Count     int        `json:"count,omitempty"`
	Placement *Placement `json:"placement,omitempty"`
}

// Tried is where they would be: one host for each.
type Tried struct {
	Hosts []TriedHost `json:"hosts"`
}

// TriedHost is the host of one of them.
type TriedHost struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Region string `json:"region,omitempty"`
	Zone   string `json:"zone,omitempty"`
	Rack   string `json:"rack,omitempty"`
}

// Region is a region with its zones.
type Region struct {
	Region string   `json:"region"`
	Name   string   `json:"name,omitempty"`
	Zones  []string `json:"zones"`
}

// SwarmRequest names a swarm whose nodes are to become hosts.
type SwarmRequest struct {
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"`
	Region   string `json:"region"`
	Zone     string `json:"zone,omitempty"`
	Reserved bool   `json:"reserved,omitempty"`
}

// Swarm is a swarm whose nodes become hosts by themselves.
type Swarm struct {
	Name      string      `json:"name"`
	Endpoint  string      `json:"endpoint"`
	Region    string      `json:"region"`
	Zone      string      `json:"zone,omitempty"`
	Reserved  bool        `json:"reserved"`
	Nodes     []SwarmNode `json:"nodes"`
	SeenAt    time.Time   `json:"seen_at,omitzero"`
	Error     string      `json:"error,omitempty"`
	CreatedAt time.Time   `json:"created_at"`
	document
}

// SwarmNode is a node of a swarm.
type SwarmNode struct {
	ID           string `json:"id"`
	Hostname     string `json:"hostname"`
	Address      string `json:"address,omitempty"`
	State        string `json:"state"`
	Availability string `json:"availability"`
	Host         string `json:"host"` // empty: it is none
	Reason       string `json:"reason,omitempty"`
}

// UnmarshalJSON decodes the value and keeps the document.
func (s *Swarm) UnmarshalJSON(data []byte) error {
	type plain Swarm
	return s.decode(data, (*plain)(s))
}

// MarshalJSON gives the document as it was received.
func (s Swarm) MarshalJSON() ([]byte, error) {
	type plain Swarm
	return s.encode(plain(s))
}

// UnmarshalJSON decodes the value and keeps the document.
func (h *Host) UnmarshalJSON(data []byte) error {
	type plain Host
	return h.decode(data, (*plain)(h))
}

// MarshalJSON gives the document as it was received.
func (h Host) MarshalJSON() ([]byte, error) {
	type plain Host
	return h.encode(plain(h))
}
