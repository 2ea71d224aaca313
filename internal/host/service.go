package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Service is what operators can ask of the pool.
type Service struct {
	cfg       ServiceConfig
	keeper    idempotency.Keeper
	placement *Placement
}

// ServiceConfig is what a Service needs.
type ServiceConfig struct {
	Store   Store
	Answers idempotency.Store
	Jobs    *job.Engine
	Ports   Ports
	Vault   secret.Vault
	NewID   id.Maker
	Now     clock.Clock
	Log     *slog.Logger
	// PlainTCP allows engines that are reached by TCP without TLS: who can reach them, too, is
	// root on their machine. It is for tests.
	PlainTCP bool
	Access   *Access // nil: no machine is logged in to
	// Evict deletes by force, on the record, what is on a host that is deleted by force.
	Evict func(ctx context.Context, p tenant.Principal, from ID) error
	// PortLow and PortHigh are the ports of a host of which nobody says other ones.
	PortLow, PortHigh int
}

// NewService makes a Service.
func NewService(cfg ServiceConfig) *Service {
	if cfg.Now == nil {
		cfg.Now = clock.System
	}
	return &Service{
		cfg: cfg, keeper: idempotency.Keeper{Store: cfg.Answers, Vault: cfg.Vault, Now: cfg.Now},
		placement: &Placement{Store: cfg.Store, Ports: cfg.Ports, Now: cfg.Now},
	}
}

// enter checks that the caller runs the platform, and returns a context that is within what is
// the pool's: its jobs and events.
func (s *Service) enter(ctx context.Context, p tenant.Principal) (context.Context, error) {
	if err := p.MayAll(tenant.Operate); err != nil {
		return nil, err
	}
	return tenant.Within(ctx, tenant.Pool), nil
}

// View is a host with what belongs to it.
type View struct {
	Host
	Disks []Disk
	Job   id.Job // that is at it; empty: none
}

// Filter narrows a list of hosts; what is empty does not.
type Filter struct {
	State              State
	Health             Health
	Region, Zone, Rack string
	Arch, Purpose      string
	Name               string
	Reserved           *bool
	Labels             map[string]string
}

func (f *Filter) meets(h *Host) bool {
	for _, pair := range [][2]string{
		{string(f.State), string(h.State)}, {string(f.Health), string(h.Health)}, {f.Region, h.Region}, {f.Zone, h.Zone}, {f.Rack, h.Rack},
		{f.Arch, h.Arch}, {f.Purpose, h.Purpose}, {f.Name, h.Name},
	} {
		if pair[0] != "" && pair[0] != pair[1] {
			return false
		}
	}
	for k, v := range f.Labels {
		if h.Labels[k] != v {
			return false
		}
	}
	return f.Reserved == nil || *f.Reserved == h.Reserved
}

// selected gives the hosts that the filter selects, with their disks, the newest first.
func (s *Service) selected(ctx context.Context, f Filter) ([]View, error) {
	hosts, err := s.cfg.Store.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	disks, err := s.cfg.Store.Disks(ctx, "")
	if err != nil {
		return nil, err
	}
	of := map[ID][]Disk{}
	for _, d := range disks {
		of[d.Host] = append(of[d.Host], d)
	}
	var views []View
	for _, h := range slices.Backward(hosts) {
		if f.meets(&h) {
			views = append(views, View{Host: h, Disks: of[h.ID]})
		}
	}
	return views, nil
}

// Host returns a host with its disks, and the job that is at it.
func (s *Service) Host(ctx context.Context, p tenant.Principal, which ID) (View, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return View{}, err
	}
	return s.view(ctx, which)
}

func (s *Service) view(ctx context.Context, which ID) (v View, err error) {
	if !id.WellFormed(which) {
		return View{}, unknownHost(which)
	}
	if v.Host, err = s.cfg.Store.Host(ctx, which); errors.Is(err, fault.ErrNotFound) {
		return View{}, unknownHost(which)
	} else if err != nil {
		return View{}, err
	}
	if v.Disks, err = s.cfg.Store.Disks(ctx, which); err != nil {
		return View{}, err
	}
	j, err := s.cfg.Store.ActiveJob(ctx, id.Subject(which))
	if err == nil {
		v.Job = j.ID
	}
	return v, fault.IgnoreNotFound(err)
}

func unknownHost(which ID) error {
	if !id.WellFormed(which) {
		return fault.Errorf(fault.CodeNotFound, nil, "the host does not exist")
	}
	return fault.Errorf(fault.CodeNotFound, nil, "there is no host %s", which)
}

// change writes a host as the function makes it, in a transaction with the audit log. It is run
// again where somebody else was faster.
func (s *Service) change(ctx context.Context, p tenant.Principal, which ID, do func(Tx, *Host) (tenant.Deed, error)) error {
	return s.changeAll(ctx, p, []ID{which}, do)
}

// changeAll does so with several hosts, all of them or none.
func (s *Service) changeAll(ctx context.Context, p tenant.Principal, all []ID, do func(Tx, *Host) (tenant.Deed, error)) error {
	return fault.Redecide(func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			for _, which := range all {
				if err := s.changeOne(tx, p, which, do); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func (s *Service) changeOne(tx Tx, p tenant.Principal, which ID, do func(Tx, *Host) (tenant.Deed, error)) error {
	h, err := tx.HostRow(which)
	if errors.Is(err, fault.ErrNotFound) {
		return unknownHost(which)
	}
	if err != nil {
		return err
	}
	deed, err := do(tx, &h)
	if err != nil {
		return err
	}
	h.UpdatedAt = s.cfg.Now()
	if err := tx.UpdateHost(h); err != nil {
		return err
	}
	deed.On, deed.Tenant = string(which), tenant.Pool
	return s.note(tx, p, deed)
}

func (s *Service) note(tx tenant.Trail, p tenant.Principal, d tenant.Deed) error {
	return tenant.Auditor{NewID: s.cfg.NewID, Now: s.cfg.Now}.Note(tx, p, d)
}

// Change is what an operator changes of a host; nil leaves it as it is. Where a host is is not
// changed while something is on it, how Berth logs in there is.
type Change struct {
	Name, Purpose              *string
	Labels                     *map[string]string
	Region, Zone, Rack         *string
	Address, Endpoint, HostKey *string
	PortLow, PortHigh          *int
	Overcommit                 *Overcommit
	// Certificates replace those that prove Berth to an engine that is reached by TCP.
	Certificates *Certificates
}

// ChangeHost changes a host.
func (s *Service) ChangeHost(ctx context.Context, p tenant.Principal, which ID, c Change) (View, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return View{}, err
	}
	err = s.change(ctx, p, which, func(tx Tx, h *Host) (tenant.Deed, error) {
		detail, err := s.apply(tx, h, c)
		return tenant.Deed{Action: tenant.ActHostChange, Detail: detail}, err
	})
	if err != nil {
		return View{}, err
	}
	return s.view(ctx, which)
}

func (s *Service) apply(tx Tx, h *Host, c Change) (detail string, err error) {
	var changed []string
	set := func(name string, to *string, is *string) {
		if to != nil && *to != *is {
			*is, changed = *to, append(changed, name+" "+*to)
		}
	}
	if c.Name != nil && *c.Name != h.Name && h.Source == FromEnvironment {
		return "", fault.Errorf(fault.CodeHostState, nil, "host %s is named by the settings of its workers (BERTH_HOST_NAME): change it there", h.Name)
	}
	set("name", c.Name, &h.Name)
	set("purpose", c.Purpose, &h.Purpose)
	set("host key", c.HostKey, &h.HostKey)
	before := h.Endpoint
	if c.Endpoint != nil && sameMachine(*c.Endpoint, h.Endpoint) && h.Source == FromPool {
		set("endpoint", c.Endpoint, &h.Endpoint)
	}
	free := len(changed)
	set("region", c.Region, &h.Region)
	set("zone", c.Zone, &h.Zone)
	set("rack", c.Rack, &h.Rack)
	set("address", c.Address, &h.Advertise)
	set("endpoint", c.Endpoint, &h.Endpoint)
	if len(changed) > free && h.Used.Units > 0 {
		return "", fault.Errorf(fault.CodeHostInUse, nil, "host %s has %s: where it is and how it is reached is changed only while it has none", h.Name, plural(int(h.Used.Units), "instance"))
	}
	if len(changed) > free && h.Source == FromEnvironment && (c.Address != nil || c.Endpoint != nil) {
		return "", fault.Errorf(fault.CodeHostState, nil, "host %s is registered by the settings of its workers (BERTH_DOCKER_HOST, BERTH_ADVERTISE_HOST): change them there", h.Name)
	}
	if len(changed) > free && !h.bySSH() {
		if err := withoutLoops(tx, h.ID); err != nil {
			return "", err
		}
	}
	if c.Labels != nil {
		h.Labels, changed = *c.Labels, append(changed, "labels")
	}
	if c.PortLow != nil && c.PortHigh != nil {
		h.PortLow, h.PortHigh, changed = *c.PortLow, *c.PortHigh, append(changed, fmt.Sprintf("ports %d-%d", *c.PortLow, *c.PortHigh))
	}
	if c.Overcommit != nil {
		h.Capacity.Overcommit = *c.Overcommit
		h.Capacity = h.capacityOf(h.Found)
		if over := h.Capacity; over.CPUMillis > 0 && h.Used.CPUMillis > over.CPUMillis || over.MemoryBytes > 0 && h.Used.MemoryBytes > over.MemoryBytes {
			return "", fault.Errorf(fault.CodeHostInUse, nil, "host %s holds more than it would have to give away: drain it first, or choose a larger overcommit", h.Name)
		}
		changed = append(changed, fmt.Sprintf("overcommit cpu %d %%, memory %d %%", c.Overcommit.CPUPercent, c.Overcommit.MemoryPercent))
	}
	wrong := checkChange(*h)
	if c.HostKey != nil && !validHostKey(*c.HostKey) {
		wrong = append(wrong, fault.FieldError{Field: "host_key", Message: hostKeyMessage})
	}
	if message := s.changeCertificates(h.Endpoint, before, c.Certificates); message != "" {
		wrong = append(wrong, fault.FieldError{Field: "certificates", Message: message})
	}
	if len(wrong) > 0 {
		return "", fault.Invalid(wrong)
	}
	if c.Certificates != nil {
		if err := tx.DeleteHostSecrets(h.ID, secretTLS); err != nil {
			return "", err
		}
		if err := s.keepSecret(tx, h.ID, secretTLS, c.Certificates.open()); err != nil {
			return "", err
		}
		changed = append(changed, "certificates")
	}
	return strings.Join(changed, ", "), s.checkPlace(tx, h.Region, h.Zone)
}

// changeCertificates says what is wrong with certificates that replace those of a host. One that
// has been reached otherwise has none yet.
func (s *Service) changeCertificates(endpoint, before string, c *Certificates) string {
	if c != nil && !c.given() {
		return "must have ca, cert and key"
	}
	if c == nil {
		c = new(Certificates)
	}
	return s.wrongCertificates(endpoint, *c, !strings.HasPrefix(before, tcpScheme))
}

// sameMachine reports whether two endpoints differ in how one logs in only: in user or port.
// Of a node of a swarm the managers that are asked may be others.
func sameMachine(a, b string) bool {
	if node, data := nodeOf(a); node != "" {
		other, itsData := nodeOf(b)
		return node == other && data == itsData
	}
	u, err := url.Parse(a)
	v, also := url.Parse(b)
	return err == nil && also == nil && u.Scheme == v.Scheme && u.Hostname() == v.Hostname() && u.Hostname() != "" && u.Path == v.Path
}

// checkChange says what is wrong with a host that somebody has changed.
func checkChange(h Host) []fault.FieldError {
	c := Candidate{
		Name: h.Name, Address: h.Advertise, Endpoint: h.Endpoint, Region: h.Region, Zone: h.Zone, Rack: h.Rack, Arch: h.Arch,
		Purpose: h.Purpose, Labels: h.Labels,
	}
	wrong := c.Check()
	if h.Source == FromEnvironment { // its settings decide on these, and it may be nowhere in particular
		wrong = slices.DeleteFunc(wrong, func(f fault.FieldError) bool {
			return f.Field == "name" || f.Field == "address" || f.Field == "endpoint" || f.Field == "user" ||
				f.Field == "region" && h.Region == "" || f.Field == "zone" && h.Zone == ""
		})
	}
	if h.PortLow < 1024 || h.PortHigh > 65535 || h.PortLow > h.PortHigh {
		wrong = append(wrong, fault.FieldError{Field: "ports", Message: "must be a range from 1024 to 65535"})
	}
	o := h.Capacity.Overcommit
	if o.CPUPercent < 0 || o.CPUPercent > 10000 || o.MemoryPercent < 0 || o.MemoryPercent > 1000 || o.CPUMillis < 0 || o.MemoryBytes < 0 {
		wrong = append(wrong, fault.FieldError{Field: "overcommit", Message: "must be 0 (not limited) to 10000 percent of cpu and 1000 percent of memory, behind what is kept for the system"})
	}
	return wrong
}

// checkPlace refuses a region or a zone that nobody has added. A host may be in none.
func (s *Service) checkPlace(tx Tx, region, zone string) error {
	if region == "" && zone == "" {
		return nil
	}
	known, err := tx.PlaceKnown(region, zone)
	if err != nil || known {
		return err
	}
	return fault.Invalid([]fault.FieldError{{Field: "zone", Message: fmt.Sprintf("there is no zone %s in region %s; add it: POST /api/v1/regions", zone, region)}})
}

// Cordon keeps units from being placed on hosts, or lets them be again: on all of them, or none is
// changed.
func (s *Service) Cordon(ctx context.Context, p tenant.Principal, cordoned bool, all ...ID) ([]View, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return nil, err
	}
	to, action := StateOnline, tenant.ActHostUncordon
	if cordoned {
		to, action = StateCordoned, tenant.ActHostCordon
	}
	err = s.changeAll(ctx, p, all, func(tx Tx, h *Host) (tenant.Deed, error) {
		if h.State == to {
			return tenant.Deed{Action: action}, nil
		}
		if err := job.Idle(tx, id.Subject(h.ID)); err != nil {
			return tenant.Deed{}, err
		}
		if err := h.Move(to, "", s.cfg.Now()); err != nil {
			return tenant.Deed{}, err
		}
		return tenant.Deed{Action: action}, announce(s.cfg.Jobs, tx, "host."+string(to), *h, "", "by "+p.Name, s.cfg.Now())
	})
	if err != nil {
		return nil, err
	}
	return s.views(ctx, all)
}

// Reserve marks hosts, or takes the mark away, of all of them or none: nothing is placed on a
// reserved one that does not name it.
func (s *Service) Reserve(ctx context.Context, p tenant.Principal, reserved bool, all ...ID) ([]View, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return nil, err
	}
	err = s.changeAll(ctx, p, all, func(_ Tx, h *Host) (tenant.Deed, error) {
		h.Reserved = reserved
		return tenant.Deed{Action: tenant.ActHostReserve, Detail: fmt.Sprintf("reserved %t", reserved)}, nil
	})
	if err != nil {
		return nil, err
	}
	return s.views(ctx, all)
}

func (s *Service) views(ctx context.Context, all []ID) ([]View, error) {
	list := make([]View, len(all))
	for i, which := range all {
		var err error
		if list[i], err = s.view(ctx, which); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Instances gives the units on a host, in the order of their ids, after the one given.
func (s *Service) Instances(ctx context.Context, p tenant.Principal, which ID, after UnitID, limit int) ([]Allocation, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return nil, err
	}
	if _, err := s.view(ctx, which); err != nil {
		return nil, err
	}
	return s.cfg.Store.Allocations(ctx, AllocationFilter{Host: which}, after, limit)
}

// KeyLine returns the line of authorized_keys by which Berth logs in to machines.
func (s *Service) KeyLine(ctx context.Context, p tenant.Principal) (string, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return "", err
	}
	if s.cfg.Access == nil {
		return "", fault.Errorf(fault.CodeNotFound, nil, "no machine is logged in to here")
	}
	_, line, err := s.cfg.Access.Key(ctx)
	return line, err
}

// Try says which hosts units like the one that is needed would be placed on, so many of them,
// all or none. It places nothing.
func (s *Service) Try(ctx context.Context, p tenant.Principal, n Need, units int) ([]Host, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return nil, err
	}
	if wrong := n.Where.Check(); wrong != nil {
		return nil, fault.Invalid(wrong)
	}
	return s.placement.Plan(ctx, n, units)
}

// CommonPorts gives the first of so many ports in a row that are free on every host of the region.
func (s *Service) CommonPorts(ctx context.Context, p tenant.Principal, region string, ports int) (int, []Host, error) {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return 0, nil, err
	}
	return s.placement.CommonPorts(ctx, region, ports)
}

// class is what the jobs of hosts are filed under.
const class = "host"
