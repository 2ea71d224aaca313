package client

import (
	"encoding/json"
	"time"
)

// Engine is a kind of data service that can be had.
type Engine struct {
	Name           string         `json:"name"`
	Title          string         `json:"title"`
	Description    string         `json:"description"`
	Versions       []Version      `json:"versions"`
	Plans          []Plan         `json:"plans"`
	ResourceLimits ResourceLimits `json:"resource_limits"`
	Parameters     Schema         `json:"parameters"`
	document
}

// Version is one version of an engine.
type Version struct {
	Name    string `json:"name"`
	Default bool   `json:"default"`
}

// Plan is a named size.
type Plan struct {
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Default     bool      `json:"default"`
	Resources   Resources `json:"resources"`
}

// Resources is what an instance may use; zero: as the plan says.
type Resources struct {
	CPU    float64 `json:"cpu,omitempty"`    // cores
	Memory int64   `json:"memory,omitempty"` // bytes
	Disk   int64   `json:"disk,omitempty"`   // bytes
}

// ResourceLimits bounds explicit Resources.
type ResourceLimits struct {
	Min Resources `json:"min"`
	Max Resources `json:"max"`
}

// Instance is one provisioned data service.
type Instance struct {
	ID         string            `json:"id"`
	Engine     string            `json:"engine"`
	Version    string            `json:"version"`
	Name       string            `json:"name"`
	Plan       string            `json:"plan"`
	Resources  Resources         `json:"resources"`
	Parameters map[string]any    `json:"parameters"`
	Labels     map[string]string `json:"labels"`
	State      string            `json:"state"`
	Reason     string            `json:"reason,omitempty"` // why it is in that state
	Disk       *Disk             `json:"disk,omitempty"`   // absent until it was measured
	RequireTLS bool              `json:"require_tls"`      // connections without TLS are refused
	Endpoint   *Endpoint         `json:"endpoint,omitempty"`
	CreatedAt  time.Time         `json:"created_at"`
	UpdatedAt  time.Time         `json:"updated_at"`
	DeletedAt  *time.Time        `json:"deleted_at,omitempty"`
	KeptUntil  *time.Time        `json:"kept_until,omitempty"` // a failed one, for inspection
	document
}

// InstanceRunning is the state of an instance that can be used.
const InstanceRunning = "running"

// Disk is what an instance uses of its plan's disk, in bytes.
type Disk struct {
	UsedBytes   int64  `json:"used_bytes"`
	LimitBytes  int64  `json:"limit_bytes"`
	State       string `json:"state"`       // ok, warning, critical, full
	Enforcement string `json:"enforcement"` // measured, driver
	Bound       string `json:"bound"`       // none, quota, loop; empty: the server is of an earlier release
}

// Endpoint is where an instance listens.
type Endpoint struct {
	Host    string `json:"host"`
	Port    int    `json:"port"`
	TLSPort int    `json:"tls_port,omitempty"` // 0: none of its own
}

// Connection is what an application needs to use an instance. It holds the password.
type Connection struct {
	Engine     string         `json:"engine"`
	Host       string         `json:"host"`
	Port       int            `json:"port"`
	Username   string         `json:"username"`
	Password   string         `json:"password"`
	Database   string         `json:"database,omitempty"`
	URI        string         `json:"uri"`
	CLI        string         `json:"cli"` // a ready-made command line
	Forms      Forms          `json:"forms"`
	TLS        *TLS           `json:"tls,omitempty"` // nil: clients could not verify the server
	Parameters map[string]any `json:"parameters"`    // in force, the defaults included
	File       ConfigFile     `json:"file"`
	document
}

// Forms are ways of writing a connection; those that an engine does not have are empty.
type Forms struct {
	Env     string `json:"env"` // lines of NAME=value
	JDBC    string `json:"jdbc,omitempty"`
	DSN     string `json:"dsn,omitempty"` // of go-sql-driver/mysql
	MariaDB string `json:"mariadb,omitempty"`
}

// TLS is how to connect so that the server is verified.
type TLS struct {
	CA         string    `json:"ca"` // PEM
	Port       int       `json:"port"`
	Required   bool      `json:"required"` // connections without TLS are refused
	URI        string    `json:"uri"`
	CLI        string    `json:"cli"`           // it reads the CA from the file ca.pem
	DSN        string    `json:"dsn,omitempty"` // of go-sql-driver/mysql, for a configuration registered as "berth"
	ValidUntil time.Time `json:"valid_until"`   // end of the certificate; it is renewed before
}

// ConfigFile is the server's rendered configuration.
type ConfigFile struct {
	Name    string `json:"name"`
	Content string `json:"content"`
}

// The states of a job, and of its steps, that callers act on.
const (
	JobQueued    = "queued"
	JobRunning   = "running"
	JobSucceeded = "succeeded"
	JobFailed    = "failed"
	JobCanceled  = "canceled"

	StepWaiting = "waiting"
	StepRunning = "running"
	StepDone    = "done"
	StepFailed  = "failed"
	StepUndone  = "undone" // was done, and then taken back
)

// Job is one asynchronous operation on one thing.
type Job struct {
	ID          string     `json:"id"`
	Parent      string     `json:"parent,omitempty"` // id of the job that waits for it
	Subject     string     `json:"subject"`          // id of what it is about
	InstanceID  string     `json:"instance_id"`      // the subject, if it is an instance
	Engine      string     `json:"engine"`
	Kind        string     `json:"kind"`
	State       string     `json:"state"`
	Progress    int        `json:"progress"` // percent
	Attempt     int        `json:"attempt"`
	Steps       []Step     `json:"steps"`
	Error       *JobError  `json:"error,omitempty"`
	CallbackURL string     `json:"callback_url,omitempty"`
	OnFailure   string     `json:"on_failure,omitempty"`
	Deadline    time.Time  `json:"deadline"`
	CreatedAt   time.Time  `json:"created_at"`
	StartedAt   *time.Time `json:"started_at,omitempty"`
	FinishedAt  *time.Time `json:"finished_at,omitempty"`
	document
}

// Ended reports whether nothing more will happen.
func (j Job) Ended() bool {
	return j.State == JobSucceeded || j.State == JobFailed || j.State == JobCanceled
}

// Step is one part of a job.
type Step struct {
	Name       string     `json:"name"`
	State      string     `json:"state"`
	Attempt    int        `json:"attempt"`
	Detail     string     `json:"detail,omitempty"`
	Error      string     `json:"error,omitempty"` // why its last attempt failed
	StartedAt  *time.Time `json:"started_at,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
}

// JobError says why a job failed.
type JobError struct {
	Code      string `json:"code"`
	Step      string `json:"step"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"` // asking again, unchanged, can help
}

// CreateRequest asks for an instance; everything is optional.
type CreateRequest struct {
	Name        string            `json:"name,omitempty"`
	Version     string            `json:"version,omitempty"`
	Plan        string            `json:"plan,omitempty"`
	Resources   *Resources        `json:"resources,omitempty"`
	Parameters  map[string]any    `json:"parameters,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	CallbackURL string            `json:"callback_url,omitempty"`
	RequireTLS  bool              `json:"require_tls,omitempty"` // connections without TLS are refused
	Timeout     string            `json:"timeout,omitempty"`     // of the job, for example "5m"
	OnFailure   string            `json:"on_failure,omitempty"`  // "cleanup" or "keep"
	Placement   *Placement        `json:"placement,omitempty"`   // nil: wherever there is room
}

// Accepted is the answer to a request that a job will carry out.
type Accepted struct {
	Instance      Instance `json:"instance"`
	Job           Job      `json:"job"`
	WebhookSecret string   `json:"webhook_secret,omitempty"` // shown this once
}

// Page is a part of a list.
type Page[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor,omitempty"` // empty: this was the last one
}

// document keeps what the server sent, so that a command that shows JSON shows
// all of it, also what this client is too old to know. The copy is not for
// changed values: encoding a decoded value gives what was received.
type document struct{ raw json.RawMessage }

func (d *document) decode(data []byte, into any) error {
	d.raw = append(json.RawMessage(nil), data...)
	return json.Unmarshal(data, into)
}

func (d document) encode(value any) ([]byte, error) {
	if d.raw != nil {
		return d.raw, nil
	}
	return json.Marshal(value)
}

// UnmarshalJSON decodes the value and keeps the document.
func (e *Engine) UnmarshalJSON(data []byte) error {
	type plain Engine
	return e.decode(data, (*plain)(e))
}

// MarshalJSON gives the document as it was received.
func (e Engine) MarshalJSON() ([]byte, error) {
	type plain Engine
	return e.encode(plain(e))
}

// UnmarshalJSON decodes the value and keeps the document.
func (i *Instance) UnmarshalJSON(data []byte) error {
	type plain Instance
	return i.decode(data, (*plain)(i))
}

// MarshalJSON gives the document as it was received.
func (i Instance) MarshalJSON() ([]byte, error) {
	type plain Instance
	return i.encode(plain(i))
}

// UnmarshalJSON decodes the value and keeps the document.
func (c *Connection) UnmarshalJSON(data []byte) error {
	type plain Connection
	return c.decode(data, (*plain)(c))
}

// MarshalJSON gives the document as it was received.
func (c Connection) MarshalJSON() ([]byte, error) {
	type plain Connection
	return c.encode(plain(c))
}

// UnmarshalJSON decodes the value and keeps the document.
func (j *Job) UnmarshalJSON(data []byte) error {
	type plain Job
	return j.decode(data, (*plain)(j))
}

// MarshalJSON gives the document as it was received.
func (j Job) MarshalJSON() ([]byte, error) {
	type plain Job
	return j.encode(plain(j))
}
