package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// Rows are the tables' shapes and nothing else's: the domain has its own types.
// Times are milliseconds since 1970; 0 is the zero time.

type settingRow struct {
	Name  string `gorm:"primaryKey"`
	Value string
}

func (settingRow) TableName() string { return "settings" }

type instanceRow struct {
	ID          string `gorm:"primaryKey"`
	TenantID    string
	Engine      string
	Version     string
	Name        string
	LiveName    *string
	Plan        string
	CPUMillis   int64 `gorm:"column:cpu_millis"`
	MemoryBytes int64
	DiskBytes   int64
	Parameters  string
	Labels      string
	State       string
	Reason      string
	HostID      string
	Address     string
	Port        int
	Fence       int64
	Rev         int64
	CreatedAt   int64 `gorm:"autoCreateTime:false"`
	UpdatedAt   int64 `gorm:"autoUpdateTime:false"`
	DeletedAt   int64
	KeptUntil   int64
	DataLost    bool
	// What follows is written by UpdateDisk only.
	DiskState  string
	DiskUsed   int64
	DiskBound  string
	DiskSeen   int64
	Ports      int
	RequireTLS bool `gorm:"column:require_tls"`
	TLSPort    int  `gorm:"column:tls_port"`
	CertUntil  int64
	Placement  string
}

func (instanceRow) TableName() string { return "instances" }

type labelRow struct {
	InstanceID string `gorm:"primaryKey"`
	Name       string `gorm:"primaryKey"`
	Value      string
}

func (labelRow) TableName() string { return "instance_labels" }

type jobRow struct {
	ID             string `gorm:"primaryKey"`
	TenantID       string
	InstanceID     string
	LiveInstanceID *string
	Engine         string
	Kind           string
	State          string
	Steps          string
	Error          *string
	Attempt        int
	Crashes        int
	Undoing        bool
	Fence          int64
	Owner          string
	LeaseUntil     int64
	Generation     int64
	WakeAt         *int64
	CallbackURL    string
	OnFailure      string
	ParentID       *string
	ParentStep     string
	Deadline       int64
	Rev            int64
	CreatedAt      int64 `gorm:"autoCreateTime:false"`
	StartedAt      int64
	FinishedAt     int64
	UpdatedAt      int64 `gorm:"autoUpdateTime:false"`
}

func (jobRow) TableName() string { return "jobs" }

type credentialsRow struct {
	InstanceID string `gorm:"primaryKey"`
	KeyID      string
	Ciphertext []byte
}

func (credentialsRow) TableName() string { return "credentials" }

type portRow struct {
	HostID     string `gorm:"primaryKey"`
	Port       int    `gorm:"primaryKey;autoIncrement:false"`
	InstanceID *string
	Name       string
	RestUntil  int64
}

func (portRow) TableName() string { return "ports" }

type eventRow struct {
	Number     int64  `gorm:"primaryKey"` // in the order of insertion
	Seq        *int64 // the number that the domain knows
	ID         string
	TenantID   string
	Type       string
	InstanceID string
	JobID      string
	Message    string
	At         int64
}

func (eventRow) TableName() string { return "events" }

type deliveryRow struct {
	ID         string `gorm:"primaryKey"`
	TenantID   string
	InstanceID string
	JobID      string
	WebhookID  string
	Receiver   string
	EventID    string
	EventType  string
	URL        string
	Body       []byte
	KeyID      string
	Ciphertext []byte
	State      string
	Attempt    int
	LastStatus int
	LastError  string
	Attempts   *string
	DueAt      int64
	Generation int64
	WakeAt     *int64
	ExpiresAt  int64
	Rev        int64
	CreatedAt  int64 `gorm:"autoCreateTime:false"`
	UpdatedAt  int64 `gorm:"autoUpdateTime:false"`
}

func (deliveryRow) TableName() string { return "deliveries" }

type idempotencyRow struct {
	TenantID    string `gorm:"primaryKey"`
	IdemKey     string `gorm:"primaryKey"`
	Fingerprint string
	KeyID       string
	Ciphertext  []byte
	CreatedAt   int64 `gorm:"autoCreateTime:false"`
}

func (idempotencyRow) TableName() string { return "idempotency" }

type dutyRow struct {
	Name      string `gorm:"primaryKey"`
	Owner     string
	UntilTime int64
	Rev       int64
}

func (dutyRow) TableName() string { return "duties" }

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func nullable[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode column: %w", err)
	}
	return string(b), nil
}

func fromJSON(s string, into any) error {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("decode column: %w", err)
	}
	return nil
}

func toInstanceRow(i instance.Instance) (instanceRow, error) {
	parameters, err := toJSON(i.Spec.Parameters)
	if err != nil {
		return instanceRow{}, err
	}
	labels, err := toJSON(i.Labels)
	if err != nil {
		return instanceRow{}, err
	}
	row := instanceRow{
		ID: string(i.ID), TenantID: string(i.Tenant), Engine: i.Spec.Engine, Version: i.Spec.Version, Name: i.Name, Plan: i.Spec.Plan,
		CPUMillis: i.Spec.Resources.CPUMillis, MemoryBytes: i.Spec.Resources.MemoryBytes, DiskBytes: i.Spec.Resources.DiskBytes,
		Parameters: parameters, Labels: labels, State: string(i.State), Reason: i.Reason, HostID: string(i.Status.Host),
		Address: i.Status.Address, Port: i.Status.Port, Fence: i.Fence, Rev: i.Rev,
		CreatedAt: millis(i.CreatedAt), UpdatedAt: millis(i.UpdatedAt), DeletedAt: millis(i.DeletedAt), KeptUntil: millis(i.KeptUntil), DataLost: i.Status.DataLost,
		Ports: max(i.Spec.Ports, 1), RequireTLS: i.Spec.RequireTLS, TLSPort: i.Status.TLSPort, CertUntil: millis(i.Status.CertifiedUntil),
	}
	if i.State != instance.StateDeleted {
		row.LiveName = &row.Name
	}
	if !i.Spec.Placement.Empty() {
		row.Placement, err = toJSON(i.Spec.Placement)
	}
	return row, err
}

func (r instanceRow) disk() instance.Disk {
	return instance.Disk{
		State: instance.DiskState(r.DiskState), UsedBytes: r.DiskUsed, Bound: instance.DiskBound(r.DiskBound), SeenAt: moment(r.DiskSeen),
	}
}

func (r instanceRow) entity() (instance.Instance, error) {
	i := instance.Instance{
		ID: instance.ID(r.ID), Tenant: tenant.ID(r.TenantID), Spec: instance.Spec{Engine: r.Engine, Version: r.Version, Plan: r.Plan, Resources: host.Resources{CPUMillis: r.CPUMillis, MemoryBytes: r.MemoryBytes, DiskBytes: r.DiskBytes}, Ports: r.Ports, RequireTLS: r.RequireTLS}, Name: r.Name,

		State: instance.State(r.State), Reason: r.Reason, Status: instance.Status{Host: host.ID(r.HostID), Address: r.Address, Port: r.Port, DataLost: r.DataLost, TLSPort: r.TLSPort, CertifiedUntil: moment(r.CertUntil), Disk: r.disk()},
		Fence: r.Fence, Rev: r.Rev, CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt), DeletedAt: moment(r.DeletedAt), KeptUntil: moment(r.KeptUntil),
	}
	if err := fromJSON(r.Labels, &i.Labels); err != nil {
		return i, err
	}
	if err := fromJSON(r.Parameters, &i.Spec.Parameters); err != nil {
		return i, err
	}
	if r.Placement != "" {
		if err := fromJSON(r.Placement, &i.Spec.Placement); err != nil {
			return i, err
		}
	}
	for name, v := range i.Spec.Parameters { // the domain promises int64, JSON knows only numbers
		if n, ok := v.(json.Number); ok {
			whole, err := n.Int64()
			if err != nil {
				return i, fmt.Errorf("parameter %s: %w", name, err)
			}
			i.Spec.Parameters[name] = whole
		}
	}
	return i, nil
}

func toJobRow(j job.Job) (jobRow, error) {
	steps, err := toJSON(j.Steps)
	if err != nil {
		return jobRow{}, err
	}
	row := jobRow{
		ID: string(j.ID), TenantID: string(j.Tenant), InstanceID: string(j.Subject), Engine: j.Class, Kind: string(j.Kind),
		State: string(j.State), Steps: steps, Attempt: j.Attempt, Crashes: j.Crashes, Undoing: j.Undoing, Fence: j.Fence,
		Owner: j.Owner, LeaseUntil: millis(j.LeaseUntil), Generation: j.Generation, WakeAt: nullable(millis(j.WakeAt)),
		CallbackURL: j.CallbackURL, OnFailure: string(j.OnFailure), Deadline: millis(j.Deadline), CreatedAt: millis(j.CreatedAt), StartedAt: millis(j.StartedAt),
		FinishedAt: millis(j.FinishedAt), UpdatedAt: millis(j.UpdatedAt),
	}
	if j.Parent != "" {
		parent := string(j.Parent)
		row.ParentID, row.ParentStep = &parent, j.ParentStep
	}
	if !j.State.Ended() {
		row.LiveInstanceID = &row.InstanceID
	}
	if j.Error != nil {
		text, err := toJSON(j.Error)
		if err != nil {
			return jobRow{}, err
		}
		row.Error = &text
	}
	return row, nil
}

func (r jobRow) entity() (job.Job, error) {
	j := job.Job{
		ID: id.Job(r.ID), Tenant: tenant.ID(r.TenantID), Subject: id.Subject(r.InstanceID), Class: r.Engine,
		Kind: job.Kind(r.Kind), State: job.State(r.State), Attempt: r.Attempt, Crashes: r.Crashes, Undoing: r.Undoing,
		Fence: r.Fence, Owner: r.Owner, LeaseUntil: moment(r.LeaseUntil), Generation: r.Generation, WakeAt: moment(value(r.WakeAt)),
		CallbackURL: r.CallbackURL, OnFailure: job.FailurePolicy(r.OnFailure), Deadline: moment(r.Deadline), CreatedAt: moment(r.CreatedAt), StartedAt: moment(r.StartedAt),
		FinishedAt: moment(r.FinishedAt), UpdatedAt: moment(r.UpdatedAt),
	}
	if r.ParentID != nil {
		j.Parent, j.ParentStep = id.Job(*r.ParentID), r.ParentStep
	}
	if err := fromJSON(r.Steps, &j.Steps); err != nil {
		return j, err
	}
	if r.Error != nil {
		return j, fromJSON(*r.Error, &j.Error)
	}
	return j, nil
}

func toDeliveryRow(d webhook.Delivery) (deliveryRow, error) {
	ciphertext := d.Secret.Ciphertext
	if ciphertext == nil {
		ciphertext = []byte{}
	}
	attempts, err := toJSON(d.Attempts)
	if err != nil {
		return deliveryRow{}, err
	}
	return deliveryRow{
		ID: string(d.ID), TenantID: string(d.Tenant), InstanceID: string(d.Subject), JobID: string(d.Job), WebhookID: string(d.Webhook),
		Receiver: d.Receiver(), EventID: string(d.Event), EventType: d.EventType, Attempts: &attempts,
		URL: d.URL, Body: d.Body, KeyID: d.Secret.KeyID, Ciphertext: ciphertext, State: string(d.State), Attempt: d.Attempt,
		LastStatus: d.LastStatus, LastError: d.LastError, DueAt: millis(d.DueAt), Generation: d.Generation,
		WakeAt: nullable(millis(d.WakeAt)), ExpiresAt: millis(d.ExpiresAt), CreatedAt: millis(d.CreatedAt), UpdatedAt: millis(d.UpdatedAt),
	}, nil
}

func (r deliveryRow) entity() (webhook.Delivery, error) {
	d := webhook.Delivery{
		ID: webhook.DeliveryID(r.ID), Tenant: tenant.ID(r.TenantID), Subject: id.Subject(r.InstanceID),
		Job: id.Job(r.JobID), Webhook: webhook.ID(r.WebhookID), Event: event.ID(r.EventID), EventType: r.EventType, URL: r.URL, Body: r.Body,
		Secret: secret.Sealed{KeyID: r.KeyID, Ciphertext: r.Ciphertext}, State: webhook.DeliveryState(r.State),
		Attempt: r.Attempt, LastStatus: r.LastStatus, LastError: r.LastError, DueAt: moment(r.DueAt), Generation: r.Generation,
		WakeAt: moment(value(r.WakeAt)), ExpiresAt: moment(r.ExpiresAt), CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt),
	}
	if r.Attempts == nil { // written before there was a log
		return d, nil
	}
	return d, fromJSON(*r.Attempts, &d.Attempts)
}
