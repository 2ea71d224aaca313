package host

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// Imported is an accepted import: one job, and the job of each host below it.
type Imported struct {
	Job   job.Job
	Hosts []ID
}

// The time that an import may take, of one host and of a file of them.
const (
	importDeadline  = 45 * time.Minute
	importsDeadline = 6 * time.Hour
	stepHosts       = "hosts"
)

// Import accepts machines as hosts of the pool, all of them or none: everything that is wrong
// with any of them is said at once. Each is imported by a job of its own; one job waits for all.
func (s *Service) Import(ctx context.Context, p tenant.Principal, list []Candidate, unread []fault.FieldError, o ImportOptions, idem *idempotency.Request) (made Imported, replayed bool, err error) {
	if ctx, err = s.enter(ctx, p); err != nil {
		return Imported{}, false, err
	}
	replayed, err = idempotency.Once(ctx, s.keeper, tenant.Pool, idem, func(keep func(idempotency.Tx, Imported) error) error {
		// Asked again, these hosts exist: what was answered then goes before that.
		hosts, err := s.candidates(ctx, list, unread, o)
		if err != nil {
			return err
		}
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			if made, err = s.insertImport(tx, p, hosts, o); err != nil {
				return err
			}
			return keep(tx, made)
		})
	}, func(kept Imported) error {
		made = kept
		return nil
	})
	return made, replayed, err
}

// CheckImport says all that Import would refuse, and accepts nothing.
func (s *Service) CheckImport(ctx context.Context, p tenant.Principal, list []Candidate, unread []fault.FieldError, o ImportOptions) error {
	ctx, err := s.enter(ctx, p)
	if err != nil {
		return err
	}
	_, err = s.candidates(ctx, list, unread, o)
	return err
}

// newHost is a host that is to be imported, with what comes with it.
type newHost struct {
	host     Host
	disks    []Disk
	password secret.Secret
	// certificates prove Berth to its engine; zero: nothing need.
	certificates Certificates
}

// candidates checks all candidates, against each other and against the pool. unread is what is
// wrong with them for whoever has read them from a file; then that is all that is wrong with them
// by themselves.
func (s *Service) candidates(ctx context.Context, list []Candidate, unread []fault.FieldError, o ImportOptions) ([]newHost, error) {
	if len(list) == 0 {
		return nil, fault.Invalid([]fault.FieldError{{Field: "hosts", Message: "must have at least one host"}})
	}
	for i := range list {
		list[i] = list[i].Normalized()
	}
	wrong := slices.Clone(unread)
	if o.SkipInit && len(o.Prepare) > 0 {
		wrong = append(wrong, fault.FieldError{Field: "prepare", Message: "cannot be together with skip_init, which makes no fixes"})
	}
	if list[0].Row == 0 {
		wrong = append(wrong, CheckAll(list)...)
	}
	there, err := s.cfg.Store.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	places, err := s.cfg.Store.Places(ctx)
	if err != nil {
		return nil, err
	}
	in := neighborsOf(there, places)
	exists := false
	for i, c := range list {
		refused := in.refuse(c)
		if message := s.wrongCertificates(c.Endpoint, c.Certificates, true); message != "" {
			refused = append(refused, fault.FieldError{Field: "certificates", Message: message})
		}
		for _, r := range refused {
			exists = exists || r.Field == "name" || r.Field == "address"
			wrong = append(wrong, fault.FieldError{Field: entryOf(list, i) + "." + r.Field, Message: r.Message})
		}
	}
	if len(wrong) > 0 {
		refusal := &fault.Error{Code: fault.CodeInvalid, Message: "the request was refused; nothing was changed", Fields: wrong}
		if exists && len(list) == 1 {
			refusal.Code, refusal.Message = fault.CodeHostExists, "the pool has a host of that name or address already"
		}
		return nil, refusal
	}
	hosts := make([]newHost, len(list))
	for i, c := range list {
		hosts[i] = s.newHost(c, o, in.taken)
	}
	return hosts, nil
}

// wrongCertificates says what is wrong with the certificates for an endpoint; empty: nothing.
func (s *Service) wrongCertificates(endpoint string, c Certificates, required bool) string {
	byTCP := strings.HasPrefix(endpoint, tcpScheme)
	switch {
	case c.given() && !byTCP:
		return "are for an engine that is reached by TCP"
	case c.given():
		return c.Check()
	case byTCP && required && !s.cfg.PlainTCP:
		return "are required for an engine that is reached by TCP"
	default:
		return ""
	}
}

func (s *Service) newHost(c Candidate, o ImportOptions, taken map[string]*Host) newHost {
	now := s.cfg.Now()
	h := Host{
		ID: ID(s.cfg.NewID(Prefix)), Rev: 1, CreatedAt: now, Capacity: Capacity{Overcommit: DefaultOvercommit()}, PortLow: s.cfg.PortLow, PortHigh: s.cfg.PortHigh,
	}
	if failed := taken["failed "+c.Name]; failed != nil {
		h = *failed
		h.HostKey = ""
	}
	if h.PortLow == 0 {
		h.PortLow, h.PortHigh = defaultPortLow, defaultPortHigh
	}
	h.Name, h.Endpoint, h.Advertise, h.Bind, h.Source, h.State, h.Reason = c.Name, c.Endpoint, c.Address, "0.0.0.0", FromPool, StateImporting, ""
	h.Region, h.Zone, h.Rack, h.Arch, h.Labels, h.Health, h.Import, h.Reserved, h.UpdatedAt = c.Region, c.Zone, c.Rack, c.Arch, c.Labels, Healthy, o, o.Reserved, now
	h.Import.CPUMillis, h.Import.MemoryBytes = c.CPUMillis, c.MemoryBytes
	h.Purpose = strings.Trim(c.Purpose+" "+c.Component, " ")
	if c.HostKey != "" {
		h.HostKey = c.HostKey
	}
	n := newHost{host: h, password: c.Password, certificates: c.Certificates}
	for _, d := range c.Disks {
		n.disks = append(n.disks, Disk{
			ID: DiskID(s.cfg.NewID(DiskPrefix)), Host: h.ID, Path: d.Path, Type: d.Type, CapacityBytes: d.CapacityBytes, State: d.state(), Enforcement: cmp.Or(d.Enforcement, EnforcedByNone), Rev: 1,
		})
	}
	if len(n.disks) == 0 {
		n.disks = []Disk{engineDisk(h)}
	}
	return n
}

// The ports of a host of which nobody says other ones.
const (
	defaultPortLow  = 20000
	defaultPortHigh = 29999
)

// state gives the state of a declared disk: what somebody else uses is not given away.
func (d DiskSpec) state() DiskState {
	switch d.State {
	case SpecAvailable, "":
		return DiskAvailable
	case SpecError:
		return DiskError
	default:
		return DiskReserved
	}
}

func (s *Service) insertImport(tx Tx, p tenant.Principal, hosts []newHost, o ImportOptions) (made Imported, err error) {
	all := id.Subject(s.cfg.NewID(ImportsPrefix))
	parent, err := s.cfg.Jobs.New(JobImports, all, "", importsDeadline)
	if err != nil {
		return Imported{}, err
	}
	parent.Tenant, parent.Class = tenant.Pool, class
	if err := s.cfg.Jobs.Insert(tx, parent); err != nil {
		return Imported{}, err
	}
	made.Job = parent
	for _, n := range hosts {
		if err := s.insertHost(tx, n); err != nil {
			return Imported{}, err
		}
		j, err := s.cfg.Jobs.New(JobImport, id.Subject(n.host.ID), "", importDeadline)
		if err != nil {
			return Imported{}, err
		}
		j.Tenant, j.Class, j.Parent, j.ParentStep = tenant.Pool, class, parent.ID, stepHosts
		j.Steps = keep(j.Steps, func(step string) bool { return o.keeps(n.host, step) })
		if err := s.cfg.Jobs.Insert(tx, j); err != nil {
			return Imported{}, err
		}
		if err := announce(s.cfg.Jobs, tx, "host.importing", n.host, j.ID, "accepted", s.cfg.Now()); err != nil {
			return Imported{}, err
		}
		made.Hosts = append(made.Hosts, n.host.ID)
	}
	return made, s.note(tx, p, tenant.Deed{
		Action: tenant.ActHostImport, Tenant: tenant.Pool, On: string(all), Job: parent.ID, Detail: plural(len(hosts), "host"),
	})
}

func (s *Service) insertHost(tx Tx, n newHost) error {
	again, err := tx.HostRow(n.host.ID)
	switch {
	case errors.Is(err, fault.ErrNotFound):
		err = tx.InsertHost(n.host)
	case err == nil && !again.State.CanBecome(StateImporting):
		err = fault.Errorf(fault.CodeHostExists, nil, "host %s is %s", again.Name, again.State)
	case err == nil:
		err = s.replaceDisks(tx, n)
	}
	if err != nil {
		return err
	}
	for _, d := range n.disks {
		if err := tx.InsertDisk(d); err != nil {
			return err
		}
	}
	if n.certificates.given() {
		if err := s.keepSecret(tx, n.host.ID, secretTLS, n.certificates.open()); err != nil {
			return err
		}
	}
	if n.password.Empty() {
		return nil
	}
	return s.keepSecret(tx, n.host.ID, secretPassword, n.password.Reveal())
}

func (s *Service) keepSecret(tx Tx, of ID, name SecretName, value any) error {
	sealed, err := sealSecret(s.cfg.Vault, of, name, value)
	if err != nil {
		return err
	}
	return tx.InsertHostSecret(of, name, sealed)
}

// replaceDisks makes room for the disks of a host that is imported again. Nothing is on them.
func (s *Service) replaceDisks(tx Tx, n newHost) error {
	disks, err := tx.HostDisks(n.host.ID)
	if err != nil {
		return err
	}
	for _, d := range disks {
		if err := tx.DeleteDisk(d.ID); err != nil {
			return err
		}
	}
	if err := tx.DeleteHostSecrets(n.host.ID); err != nil {
		return err
	}
	return tx.UpdateHost(n.host)
}

func keep(steps []job.Step, wanted func(string) bool) []job.Step {
	var kept []job.Step
	for _, s := range steps {
		if wanted(s.Name) {
			kept = append(kept, s)
		}
	}
	return kept
}
