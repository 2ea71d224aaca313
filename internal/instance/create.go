package instance

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

// CreateRequest asks for an instance. Empty fields get defaults.
type CreateRequest struct {
	Engine      string
	Name        string
	HasName     bool // an empty name that was given is an error, a missing one is not
	Version     string
	Plan        string
	Resources   ResourceRequest
	Parameters  map[string]any
	Labels      map[string]string
	RequireTLS  bool
	Placement   host.Where
	CallbackURL string
	Timeout     string // of the job, for example "5m"
	OnFailure   job.FailurePolicy
	Idempotency *idempotency.Request // nil: the client sent no key
	// Encode returns the answer as it is kept for a repeated request.
	Encode func(Accepted) ([]byte, error)

	by tenant.Principal
}

// ResourceRequest asks for explicit resources; nil fields are the plan's.
type ResourceRequest struct {
	CPUMillis, MemoryBytes, DiskBytes *int64
}

func (r ResourceRequest) empty() bool {
	return r.CPUMillis == nil && r.MemoryBytes == nil && r.DiskBytes == nil
}

// Limits of what a client may send.
const (
	maxNameLength     = 40
	maxLabels         = 32
	maxLabelLength    = 63
	passwordLength    = 28
	generatedNameTail = 8
)

var (
	namePattern  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	labelPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$`)
)

// Create accepts a request for an instance: the instance and its job are committed
// in one transaction, together with the credentials and the answer to a repeated
// request, and then the workers are told.
func (s *Service) Create(ctx context.Context, p tenant.Principal, req CreateRequest) (Accepted, error) {
	if err := p.May(tenant.Change); err != nil {
		return Accepted{}, err
	}
	if !p.Limits.Allow(req.Engine, req.Labels) { // nor could the caller see what they made
		return Accepted{}, fault.Errorf(fault.CodeForbidden, nil, "%s is limited to %s; ask for an instance that is within", p.Name, p.Limits)
	}
	req.by = p
	engine, err := s.cfg.Catalog.Find(req.Engine)
	if err != nil {
		return Accepted{}, err
	}
	if req.Idempotency == nil {
		return s.create(ctx, engine, req)
	}
	if err := req.Idempotency.Check(); err != nil {
		return Accepted{}, err
	}
	accepted, refusal := s.create(ctx, engine, req)
	if refusal == nil {
		return accepted, nil
	}
	// The transaction refuses a key that is there. So a stored answer is looked for only
	// where nothing was accepted, and it goes before any other reason for that.
	replay, err := s.keeper.Replay(ctx, req.by.Tenant, req.Idempotency)
	switch {
	case err != nil:
		return Accepted{}, err
	case replay != nil:
		return Accepted{Replay: replay}, nil
	}
	return Accepted{}, refusal
}

// create accepts a request that has no answer yet.
func (s *Service) create(ctx context.Context, engine Engine, req CreateRequest) (Accepted, error) {
	now := s.cfg.Now()
	limit, wrong := s.timeLimit(req.Timeout)
	inst, err := s.newInstance(ctx, engine, req, now, append(wrong, req.OnFailure.Check()...))
	if err != nil {
		return Accepted{}, err
	}
	accepted, err := s.accept(ctx, order{engine: engine, inst: inst, limit: limit, req: req})
	if err != nil {
		return Accepted{}, s.explainName(ctx, err, inst, req.by.Limits)
	}
	return accepted, nil
}

// order is a create whose request was found right.
type order struct {
	engine Engine
	inst   Instance
	limit  time.Duration
	req    CreateRequest
}

// accept takes a warm instance that fits, or makes one anew.
func (s *Service) accept(ctx context.Context, o order) (Accepted, error) {
	for _, warm := range s.fitting(ctx, o.engine, o.inst) {
		a, err := s.commitCreate(ctx, o, &warm)
		if !errors.Is(err, errTaken) {
			return a, err
		}
	}
	if err := s.checkCapacity(ctx, o.inst.need()); err != nil {
		return Accepted{}, err
	}
	return s.commitCreate(ctx, o, nil)
}

func (s *Service) commitCreate(ctx context.Context, o order, warm *Instance) (a Accepted, err error) {
	var from secret.Secret
	if warm != nil {
		o.inst = o.inst.claimWarm(*warm)
		if from, err = s.warmPassword(ctx, warm.ID); err != nil {
			return Accepted{}, err
		}
	}
	creds := o.engine.NewCredentials(o.inst, s.cfg.Secrets)
	creds.CallbackSecret, creds.WarmPassword = s.cfg.Secrets.SigningSecret(), from
	firstStep := ""
	if warm != nil {
		firstStep = adoptStep
	}
	j, err := newJob(s.jobs, JobCreate, firstStep, o.inst, o.limit, o.req.CallbackURL)
	if err != nil {
		return Accepted{}, err
	}
	j.OnFailure = o.req.OnFailure.OrDefault()
	a = Accepted{Instance: o.inst, Job: j, CallbackSecret: creds.CallbackSecret}
	return a, s.insertCreate(ctx, a, creds, o.req)
}

func (s *Service) insertCreate(ctx context.Context, a Accepted, creds Credentials, req CreateRequest) error {
	listeners := s.jobs.Events.Listeners(ctx, a.Instance.Tenant)
	sealed, err := SealCredentials(s.cfg.Vault, a.Instance.ID, creds)
	if err != nil {
		return fmt.Errorf("seal credentials: %w", err)
	}
	var record *idempotency.Record
	if req.Idempotency != nil {
		if record, err = s.keptAccepted(a, req); err != nil {
			return err
		}
	}
	write := func(tx Tx) error {
		if record != nil {
			if err := tx.PutIdempotent(*record); err != nil {
				return err
			}
		}
		if err := s.Admit(tx, a.Job.Tenant); err != nil {
			return err
		}
		if err := putAccepted(tx, a.Instance); err != nil {
			return err
		}
		if err := s.jobs.Insert(tx, a.Job); err != nil {
			return err
		}
		if err := tx.PutCredentials(a.Instance.ID, sealed); err != nil {
			return err
		}
		pending := announcement(s.jobs, tx, EventPending, a.Instance, a.Job.ID, "accepted", a.Instance.CreatedAt)
		pending.Listeners = listeners
		if err := s.jobs.Events.Announce(tx, pending); err != nil {
			return err
		}
		if err := s.note(tx, req.by, tenant.Deed{Action: tenant.ActInstanceCreate, On: string(a.Instance.ID), Job: a.Job.ID, Detail: a.Instance.asked()}); err != nil {
			return err
		}
		return s.cfg.Quotas.Reserve(tx, a.Instance.Tenant, a.Instance.takes())
	}
	return s.cfg.Quotas.Attempt(func() error { return s.cfg.Store.Tx(ctx, write) })
}

// takes returns what a new instance adds to what its tenant holds.
func (i Instance) takes() tenant.Amounts {
	size := i.Spec.Resources
	return tenant.Amounts{
		tenant.Instances: 1, tenant.CPU: size.CPUMillis, tenant.Memory: size.MemoryBytes, tenant.Disk: size.DiskBytes,
		tenant.Ports: int64(i.Spec.ports()), tenant.JobsPerHour: 1,
	}
}

// asked says in a few words what was asked for.
func (i Instance) asked() string {
	return fmt.Sprintf("%s %s, plan %s, name %s", i.Spec.Engine, i.Spec.Version, i.Spec.Plan, i.Name)
}

// keptAccepted returns the record of an accepted create.
func (s *Service) keptAccepted(a Accepted, req CreateRequest) (*idempotency.Record, error) {
	a.CallbackSecret = secret.Secret{} // it goes with the instance, and is put back at a replay
	answer, err := req.Encode(a)
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	record, err := s.keeper.Record(a.Instance.Tenant, req.Idempotency, answer)
	return &record, err
}

// newInstance checks every field and gives the pending instance, or CodeInvalid
// with all that is wrong, together with what was found wrong already.
func (s *Service) newInstance(ctx context.Context, engine Engine, req CreateRequest, now time.Time, wrong []fault.FieldError) (Instance, error) {
	info := engine.Describe()
	inst := Instance{
		ID: ID(s.cfg.NewID(Prefix)), Tenant: req.by.Tenant, Spec: Spec{Engine: info.Name, Ports: engine.Ports(req.RequireTLS), RequireTLS: req.RequireTLS, Placement: req.Placement}, Name: req.Name,
		Labels: req.Labels, State: StatePending, CreatedAt: now, UpdatedAt: now,
	}
	wrong = append(checkName(req), wrong...)
	if inst.Name == "" {
		id := strings.ToLower(string(inst.ID))
		inst.Name = info.Name + "-" + id[len(id)-generatedNameTail:]
	}
	if version, ok := info.Version(req.Version); ok {
		inst.Spec.Version = version.Name
	} else {
		wrong = append(wrong, fault.FieldError{Field: "version", Message: "unknown version; " + info.Name + " has: " + names(info.Versions, func(v Version) string { return v.Name })})
	}
	plan, size, problems := chooseSize(info, req)
	sizeIsRight := len(problems) == 0
	wrong = append(wrong, problems...)
	inst.Spec.Plan, inst.Spec.Resources = plan, size

	given, problems := info.ParseParameters(req.Parameters)
	wrong = append(wrong, problems...)
	if len(problems) == 0 && sizeIsRight {
		inst.Spec.Parameters = engine.Complete(given, size)
		wrong = append(wrong, engine.Check(inst.Spec.Parameters, size)...)
	}
	if _, certified := engine.(Certified); req.RequireTLS && (!certified || s.cfg.Authority == nil) {
		wrong = append(wrong, fault.FieldError{Field: "require_tls", Message: info.Name + " does not support it"})
	}
	if inst.Spec.Placement.Host != "" {
		inst.Spec.Placement.Reserved = req.by.Operator
	}
	wrong = append(wrong, req.Placement.Check()...)
	wrong = append(wrong, CheckLabels(req.Labels)...)
	wrong = append(wrong, s.checkCallback(ctx, req.CallbackURL)...)
	if len(wrong) > 0 {
		return Instance{}, fault.Invalid(wrong)
	}
	return inst, nil
}

func names[T any](list []T, name func(T) string) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = name(v)
	}
	return strings.Join(out, ", ")
}

func checkName(req CreateRequest) []fault.FieldError {
	switch {
	case req.Name == "" && !req.HasName:
		return nil
	case req.Name == "":
		return []fault.FieldError{{Field: "name", Message: "must not be empty; omit it to have one generated"}}
	case len(req.Name) > maxNameLength:
		return []fault.FieldError{{Field: "name", Message: fmt.Sprintf("must be at most %d characters", maxNameLength)}}
	case !namePattern.MatchString(req.Name):
		return []fault.FieldError{{Field: "name", Message: "must consist of a-z, 0-9 and -, and begin and end with a letter or digit"}}
	}
	return nil
}

// CheckLabels says what is wrong with the labels.
func CheckLabels(labels map[string]string) []fault.FieldError {
	var wrong []fault.FieldError
	if len(labels) > maxLabels {
		wrong = append(wrong, fault.FieldError{Field: "labels", Message: fmt.Sprintf("must be at most %d", maxLabels)})
	}
	for _, key := range sortedKeys(labels) {
		if len(key) > maxLabelLength || !labelPattern.MatchString(key) {
			wrong = append(wrong, fault.FieldError{Field: "labels." + key, Message: fmt.Sprintf("a label's name must be 1 to %d characters of A-Z, a-z, 0-9, . _ / and -", maxLabelLength)})
		}
		if len(labels[key]) > maxLabelLength {
			wrong = append(wrong, fault.FieldError{Field: "labels." + key, Message: fmt.Sprintf("must be at most %d characters", maxLabelLength)})
		}
	}
	return wrong
}

func (s *Service) checkCallback(ctx context.Context, url string) []fault.FieldError {
	if url == "" {
		return nil
	}
	if err := s.cfg.Sender.CheckURL(ctx, url); err != nil {
		return []fault.FieldError{{Field: "callback_url", Message: err.Error()}}
	}
	return nil
}

// chooseSize gives the plan's name and the resources: the plan's, or what was
// asked for explicitly within the engine's limits.
func chooseSize(info EngineInfo, req CreateRequest) (string, host.Resources, []fault.FieldError) {
	plan, ok := info.Plan(req.Plan)
	if req.Plan == PlanCustom && !req.Resources.empty() {
		plan, ok = info.Plans[0], true
	}
	if !ok {
		return "", host.Resources{}, []fault.FieldError{{Field: "plan", Message: "unknown plan; " + info.Name + " has: " + names(info.Plans, func(p Plan) string { return p.Name })}}
	}
	size := plan.Resources
	if req.Resources.empty() {
		return plan.Name, size, nil
	}
	var wrong []fault.FieldError
	choose := func(field string, asked, to *int64, lo, hi int64, allowed string) {
		if asked == nil {
			return
		}
		if *asked < lo || *asked > hi {
			wrong = append(wrong, fault.FieldError{Field: "resources." + field, Message: "must be " + allowed})
			return
		}
		*to = *asked
	}
	lo, hi := info.Limits.Min, info.Limits.Max
	choose("cpu", req.Resources.CPUMillis, &size.CPUMillis, lo.CPUMillis, hi.CPUMillis,
		fmt.Sprintf("from %g to %g cores", float64(lo.CPUMillis)/1000, float64(hi.CPUMillis)/1000))
	choose("memory", req.Resources.MemoryBytes, &size.MemoryBytes, lo.MemoryBytes, hi.MemoryBytes, bytesBetween(lo.MemoryBytes, hi.MemoryBytes))
	choose("disk", req.Resources.DiskBytes, &size.DiskBytes, lo.DiskBytes, hi.DiskBytes, bytesBetween(lo.DiskBytes, hi.DiskBytes))
	return PlanCustom, size, wrong
}

func bytesBetween(lo, hi int64) string { return fmt.Sprintf("from %d to %d bytes", lo, hi) }

// explainName turns a taken name into a refusal of the field.
func (s *Service) explainName(ctx context.Context, err error, inst Instance, limits tenant.Limits) error {
	if !errors.Is(err, fault.ErrNameHeld) {
		return err
	}
	message := "is taken by another instance; choose another name or delete that one"
	holders, findErr := s.cfg.Store.Instances(ctx, Filter{Tenant: inst.Tenant, Name: inst.Name}, page.Page{Limit: 1})
	if findErr == nil && len(holders) == 1 && limits.Allow(holders[0].Spec.Engine, holders[0].Labels) {
		message = fmt.Sprintf("is taken by %s (%s); choose another name or delete that one", holders[0].ID, holders[0].State)
	}
	return fault.Invalid([]fault.FieldError{{Field: "name", Message: message}})
}
