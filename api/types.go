package api

import (
	"cmp"
	"encoding/json"
	"math"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
)

// The types of this file are what clients see. They are made from the domain's, by
// hand, so that a new field of the domain never shows itself by accident.

// stamp is a time in RFC 3339, UTC, with milliseconds.
type stamp string

// Schema implements huma.SchemaProvider.
func (stamp) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time"}
}

func at(t time.Time) stamp {
	if t.IsZero() {
		return ""
	}
	return stamp(t.UTC().Format("2006-01-02T15:04:05.000Z"))
}

type resourcesView struct {
	CPU    float64 `json:"cpu" doc:"cores"`
	Memory int64   `json:"memory" doc:"bytes"`
	Disk   int64   `json:"disk" doc:"bytes"`
}

func viewResources(r host.Resources) resourcesView {
	return resourcesView{CPU: float64(r.CPUMillis) / 1000, Memory: r.MemoryBytes, Disk: r.DiskBytes}
}

type endpointView struct {
	Host    string `json:"host"`
	Port    int    `json:"port"`
	TLSPort int    `json:"tls_port,omitempty" doc:"port for TLS, if it is another one"`
}

type instanceView struct {
	ID         instance.ID       `json:"id"`
	Engine     string            `json:"engine"`
	Version    string            `json:"version"`
	Name       string            `json:"name"`
	Plan       string            `json:"plan"`
	Resources  resourcesView     `json:"resources"`
	Parameters map[string]any    `json:"parameters"`
	Labels     map[string]string `json:"labels"`
	State      instance.State    `json:"state" enum:"pending,provisioning,running,unhealthy,stopped,updating,deleting,deleted,failed"`
	Reason     string            `json:"reason,omitempty" doc:"why the instance is in this state"`
	Disk       *diskView         `json:"disk,omitempty" doc:"use of the disk as last measured; absent until it was measured"`
	RequireTLS bool              `json:"require_tls" doc:"whether the server refuses connections without TLS"`
	Endpoint   *endpointView     `json:"endpoint,omitempty" doc:"address and port; absent until the instance is placed on a host"`
	CreatedAt  stamp             `json:"created_at"`
	UpdatedAt  stamp             `json:"updated_at"`
	DeletedAt  stamp             `json:"deleted_at,omitempty"`
	KeptUntil  stamp             `json:"kept_until,omitempty" doc:"when the container, volume and port of a create that failed with on_failure keep are removed"`
}

type diskView struct {
	UsedBytes   int64              `json:"used_bytes" doc:"bytes that count against the limit"`
	LimitBytes  int64              `json:"limit_bytes" doc:"the plan's disk in bytes"`
	State       instance.DiskState `json:"state" enum:"ok,warning,critical,full" doc:"warning from 80 % of the limit on, critical from 95 %; while full, writes are refused and reads and deletes go on"`
	Enforcement instance.DiskBound `json:"enforcement" enum:"measured,driver" doc:"measured: Berth measures and has the server refuse writes; driver: the host refuses what goes far beyond the limit, too; bound says how"`
	Bound       host.Enforcement   `json:"bound" enum:"none,quota,loop" doc:"how the host bounds the volume; none: it does not; quota: its volume driver refuses more; loop: the volume is a file system of its own"`
}

func viewDisk(i instance.Instance) *diskView {
	d := i.Status.Disk
	if d.State == "" || i.State == instance.StateDeleted || i.State == instance.StateFailed {
		return nil
	}
	return &diskView{
		UsedBytes: d.UsedBytes, LimitBytes: i.Spec.Resources.DiskBytes, State: d.State, Enforcement: d.Bound.Coarse(), Bound: d.Bound.Enforcement(),
	}
}

func viewInstance(i instance.Instance) instanceView {
	v := instanceView{
		ID: i.ID, Engine: i.Spec.Engine, Version: i.Spec.Version, Name: i.Name, Plan: i.Spec.Plan, Resources: viewResources(i.Spec.Resources),
		Parameters: i.Spec.Parameters, Labels: i.Labels, State: i.State, Reason: i.Reason, RequireTLS: i.Spec.RequireTLS,
		CreatedAt: at(i.CreatedAt), UpdatedAt: at(i.UpdatedAt), DeletedAt: at(i.DeletedAt), KeptUntil: at(i.KeptUntil),
	}
	if v.Labels == nil {
		v.Labels = map[string]string{}
	}
	if v.Disk = viewDisk(i); v.Reason == "" && v.State == instance.StateRunning && v.Disk != nil && v.Disk.State == instance.DiskFull {
		v.Reason = instance.ReasonDiskFull
	}
	if i.Status.Port != 0 && i.State != instance.StateDeleted && (i.State != instance.StateFailed || !i.KeptUntil.IsZero()) {
		v.Endpoint = &endpointView{Host: i.Status.Address, Port: i.Status.Port, TLSPort: i.Status.TLSPort}
	}
	return v
}

type stepView struct {
	Name       string        `json:"name"`
	State      job.StepState `json:"state" enum:"waiting,running,done,failed,undone"`
	Attempt    int           `json:"attempt" doc:"number of times the step was started"`
	Detail     string        `json:"detail,omitempty"`
	Error      string        `json:"error,omitempty" doc:"why the last attempt failed"`
	StartedAt  stamp         `json:"started_at,omitempty"`
	FinishedAt stamp         `json:"finished_at,omitempty"`
}

type jobErrorView struct {
	Code      fault.Code `json:"code"`
	Step      string     `json:"step,omitempty"`
	Message   string     `json:"message"`
	Retryable bool       `json:"retryable" doc:"whether the same request can succeed later"`
}

type jobView struct {
	ID          id.Job        `json:"id"`
	Parent      id.Job        `json:"parent,omitempty" doc:"the job that waits for this one"`
	Subject     id.Subject    `json:"subject" doc:"id of the resource the job works on"`
	InstanceID  instance.ID   `json:"instance_id" doc:"the subject, if it is an instance"`
	Engine      string        `json:"engine"`
	Kind        job.Kind      `json:"kind" enum:"instance.create,instance.delete,instance.restart,instance.stop,instance.start,instance.repair,instance.renew,hosts.import,host.import,host.takeover,host.inspect,host.drain,host.delete"`
	State       job.State     `json:"state" enum:"queued,running,succeeded,failed,canceled"`
	Progress    int           `json:"progress" minimum:"0" maximum:"100"`
	Attempt     int           `json:"attempt" doc:"number of the attempt, from 1"`
	Steps       []stepView    `json:"steps"`
	Error       *jobErrorView `json:"error,omitempty" doc:"why the job, or its last attempt, failed"`
	Undoing     bool          `json:"undoing,omitempty" doc:"true while the job rolls back what it did"`
	CallbackURL string        `json:"callback_url,omitempty"`
	OnFailure   string        `json:"on_failure,omitempty" enum:"cleanup,keep" doc:"what happens to the instance if its create fails"`
	Worker      string        `json:"worker,omitempty" doc:"worker that runs the job now"`
	Deadline    stamp         `json:"deadline"`
	CreatedAt   stamp         `json:"created_at"`
	StartedAt   stamp         `json:"started_at,omitempty"`
	FinishedAt  stamp         `json:"finished_at,omitempty"`
}

func viewJob(j job.Job) jobView {
	v := jobView{
		ID: j.ID, Parent: j.Parent, Subject: j.Subject, InstanceID: instanceOf(j.Subject), Engine: j.Class, Kind: j.Kind, State: j.State, Progress: j.Progress(), Attempt: j.Attempt + 1,
		Undoing: j.Undoing && !j.State.Ended(), CallbackURL: j.CallbackURL, OnFailure: string(j.OnFailure), Worker: j.Owner,
		Deadline: at(j.Deadline), CreatedAt: at(j.CreatedAt),
		StartedAt: at(j.StartedAt), FinishedAt: at(j.FinishedAt), Steps: make([]stepView, len(j.Steps)),
	}
	for i, s := range j.Steps {
		v.Steps[i] = stepView{
			Name: s.Name, State: s.State, Attempt: s.Attempt, Detail: s.Detail, Error: s.Error,
			StartedAt: at(s.StartedAt), FinishedAt: at(s.FinishedAt),
		}
	}
	if e := j.Error; e != nil {
		v.Error = &jobErrorView{Code: e.Code, Step: e.Step, Message: e.Message, Retryable: e.Retryable}
	}
	return v
}

type acceptedView struct {
	Instance      instanceView `json:"instance"`
	Job           jobView      `json:"job"`
	WebhookSecret string       `json:"webhook_secret,omitempty" doc:"secret that signs callbacks about this instance; returned only in this response"`
}

func viewAccepted(a instance.Accepted) acceptedView {
	return acceptedView{Instance: viewInstance(a.Instance), Job: viewJob(a.Job), WebhookSecret: a.CallbackSecret.Reveal()}
}

type pageView[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor,omitempty" doc:"pass it as ?cursor= for the next page; absent on the last page"`
}

func viewPage[E, V any](list []E, next string, view func(E) V) pageView[V] {
	p := pageView[V]{Items: make([]V, len(list)), NextCursor: next}
	for i, e := range list {
		p.Items[i] = view(e)
	}
	return p
}

// bytesValue is a number of bytes that a client may also write as "512mb".
type bytesValue struct{ n int64 }

// UnmarshalJSON reads both forms, after the schema has. What no int64 can hold
// becomes the largest one: the domain refuses that and says what is allowed.
func (b *bytesValue) UnmarshalJSON(data []byte) error {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	switch x := v.(type) {
	case string:
		n, ok := instance.ParseBytes(x)
		if !ok {
			n = math.MaxInt64
		}
		b.n = n
	case float64:
		b.n = int64(min(x, 1<<53))
	}
	return nil
}

// Schema implements huma.SchemaProvider.
func (bytesValue) Schema(huma.Registry) *huma.Schema {
	zero := 0.0
	return &huma.Schema{
		Description: `number of bytes, or a string such as "512mb"`,
		OneOf: []*huma.Schema{
			{Type: huma.TypeInteger, Minimum: &zero},
			{Type: huma.TypeString, Pattern: `^ *[0-9]{1,15} *([kKmMgG][bB]?|[bB])? *$`},
		},
	}
}

type resourcesBody struct {
	CPU    *float64    `json:"cpu,omitempty" doc:"cores, for example 0.5"`
	Memory *bytesValue `json:"memory,omitempty"`
	Disk   *bytesValue `json:"disk,omitempty"`
}

func (r *resourcesBody) request() instance.ResourceRequest {
	var out instance.ResourceRequest
	if r == nil {
		return out
	}
	if r.CPU != nil {
		millis := int64(math.Round(min(max(*r.CPU, -1), 1e6) * 1000))
		out.CPUMillis = &millis
	}
	if r.Memory != nil {
		out.MemoryBytes = &r.Memory.n
	}
	if r.Disk != nil {
		out.DiskBytes = &r.Disk.n
	}
	return out
}

type createBody struct {
	Name        *string           `json:"name,omitempty" doc:"at most 40 characters: a-z, 0-9 and -, beginning and ending with a letter or digit; default: generated"`
	Version     string            `json:"version,omitempty" doc:"default: the engine's"`
	Plan        string            `json:"plan,omitempty" doc:"default: the engine's"`
	Resources   *resourcesBody    `json:"resources,omitempty" doc:"override the plan's, within the engine's limits"`
	Parameters  map[string]any    `json:"parameters,omitempty" doc:"parameters of the engine; GET /api/v1/engines returns their JSON Schema"`
	Labels      map[string]string `json:"labels,omitempty"`
	CallbackURL string            `json:"callback_url,omitempty" doc:"URL that receives a signed POST when the job ends"`
	RequireTLS  bool              `json:"require_tls,omitempty" doc:"the server refuses connections without TLS"`
	Placement   *placementBody    `json:"placement,omitempty" doc:"where the instance is to be; default: wherever there is room"`
	Timeout     string            `json:"timeout,omitempty" doc:"time limit of the job, from 10s to 1h" example:"5m"`
	OnFailure   string            `json:"on_failure,omitempty" enum:"cleanup,keep" doc:"cleanup (default) removes a failed instance; keep leaves it for inspection until kept_until"`
}

// SubjectInput narrows a list to what is about one thing.
type SubjectInput struct {
	Subject    string `query:"subject" doc:"return only items about the resource with this id"`
	InstanceID string `query:"instance_id" doc:"return only items about this instance"`
}

const twoSubjects = "must not differ from subject; leave one of the two out"

func (in SubjectInput) differ() bool {
	return in.Subject != "" && in.InstanceID != "" && in.Subject != in.InstanceID
}

// Resolve implements huma.Resolver: it refuses the ids of two things.
func (in SubjectInput) Resolve(huma.Context) []error {
	if !in.differ() {
		return nil
	}
	return []error{&huma.ErrorDetail{Location: "query.instance_id", Message: twoSubjects}}
}

func (in SubjectInput) subject() id.Subject { return id.Subject(cmp.Or(in.Subject, in.InstanceID)) }

// instanceOf returns the instance that something is about, where it is about one.
func instanceOf(s id.Subject) instance.ID {
	if s.Prefix() != instance.Prefix {
		return ""
	}
	return instance.ID(s)
}
