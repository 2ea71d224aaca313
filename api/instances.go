package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

func (s *server) instanceRoutes(h huma.API) {
	op := operations("instances", basePath+"/storage")
	create := op("create-instance", http.MethodPost, "/{engine}/instances", "Create an instance (asynchronous)", tenant.Change, 202, 400, 404, 409, 413, 422, 429, 503)
	create.MaxBodyBytes = hugeBody
	huma.Register(h, create, s.createInstance)
	// Everything has a default. huma takes a RawBody for a body that must be there.
	h.OpenAPI().Paths[create.Path].Post.RequestBody.Required = false

	const remove = "Delete an instance, even while it is being created (asynchronous)"
	huma.Register(h, op("delete-instance", http.MethodDelete, "/{engine}/instances/{id}", remove, tenant.Change, 202, 404, 409, 410, 422, 503), s.deleteInstance)

	for _, a := range []struct {
		verb, summary string
		do            func(context.Context, tenant.Principal, string, instance.ID, instance.Action) (instance.Accepted, error)
	}{
		{"restart", "Restart the server of an instance (asynchronous)", s.Service.Restart},
		{"stop", "Stop the server of an instance, which keeps its data (asynchronous)", s.Service.Stop},
		{"start", "Start the server of a stopped instance (asynchronous)", s.Service.Start},
	} {
		act := op(a.verb+"-instance", http.MethodPost, "/{engine}/instances/{id}/"+a.verb, a.summary, tenant.Change, 202, 403, 404, 409, 410, 422, 429, 503)
		huma.Register(h, act, func(ctx context.Context, in *actionInput) (*acceptedOutput, error) {
			return s.actOnInstance(ctx, in, a.do)
		})
		h.OpenAPI().Paths[act.Path].Post.RequestBody.Required = false
	}

	huma.Register(h, op("list-all-instances", http.MethodGet, "/instances", "List instances of all engines, newest first", tenant.Read, 200),
		func(ctx context.Context, in *ListInput) (*body[pageView[instanceView]], error) {
			return s.listInstances(ctx, "", in)
		})
	huma.Register(h, op("list-instances", http.MethodGet, "/{engine}/instances", "List instances of one engine, newest first", tenant.Read, 200, 404),
		func(ctx context.Context, in *struct {
			EnginePath
			ListInput
		},
		) (*body[pageView[instanceView]], error) {
			return s.listInstances(ctx, in.Engine, &in.ListInput)
		})
	huma.Register(h, op("get-any-instance", http.MethodGet, "/instances/{id}", "Get an instance of any engine", tenant.Read, 200, 404),
		func(ctx context.Context, in *InstancePath) (*body[instanceView], error) {
			return s.getInstance(ctx, "", in.ID)
		})
	huma.Register(h, op("get-instance", http.MethodGet, "/{engine}/instances/{id}", "Get an instance", tenant.Read, 200, 404),
		func(ctx context.Context, in *EngineInstancePath) (*body[instanceView], error) {
			return s.getInstance(ctx, in.Engine, in.ID)
		})
	huma.Register(h, op("get-config", http.MethodGet, "/{engine}/instances/{id}/config", "Get the connection details and effective settings of an instance", tenant.Credentials, 200, 404, 409, 410), s.getConfig)
}

// huma finds the parameters in embedded structs only if these are exported.

// EnginePath is the part of a path that names an engine.
type EnginePath struct {
	Engine string `path:"engine" doc:"name of the engine: mysql or redis"`
}

// InstancePath is the part of a path that names an instance.
type InstancePath struct {
	ID string `path:"id" doc:"id of the instance"`
}

// EngineInstancePath is the part of a path that names an engine and an instance.
type EngineInstancePath struct {
	EnginePath
	InstancePath
}

// PageInput asks for a page of a list.
type PageInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor string `query:"cursor" maxLength:"40" doc:"next_cursor of the previous page"`
}

func (p PageInput) page() page.Page { return page.Page{Before: p.Cursor, Limit: p.Limit} }

// ListInput narrows a list of instances.
type ListInput struct {
	PageInput
	State   string   `query:"state" enum:"pending,provisioning,running,unhealthy,stopped,updating,deleting,deleted,failed"`
	Name    string   `query:"name" maxLength:"100"`
	Label   []string `query:"label,explode" doc:"name=value; repeatable, all must match"`
	Deleted bool     `query:"deleted" doc:"include deleted instances"`
}

type acceptedOutput struct {
	Location   string `header:"Location" doc:"path of the job"`
	RetryAfter int    `header:"Retry-After" doc:"seconds to wait before reading the job"`
	Replayed   string `header:"Idempotency-Replayed" doc:"true if an earlier request with this Idempotency-Key created it; the response shows its current state"`
	Body       acceptedView
}

func accepted(a instance.Accepted) *acceptedOutput {
	return &acceptedOutput{Location: jobPath(a.Job.ID), RetryAfter: 1, Body: viewAccepted(a)}
}

type createInput struct {
	EnginePath
	KeyInput
	Body    *createBody
	RawBody []byte
}

func (s *server) createInstance(ctx context.Context, in *createInput) (*acceptedOutput, error) {
	req := instance.CreateRequest{Engine: in.Engine}
	if b := in.Body; b != nil {
		req.Version, req.Plan, req.Parameters, req.Labels, req.CallbackURL = b.Version, b.Plan, b.Parameters, b.Labels, b.CallbackURL
		req.RequireTLS, req.Timeout, req.OnFailure = b.RequireTLS, b.Timeout, job.FailurePolicy(b.OnFailure)
		req.Resources, req.Placement = b.Resources.request(), b.Placement.where()
		if b.Name != nil {
			req.Name, req.HasName = *b.Name, true
		}
	}
	idem, done, err := s.keyed(ctx, in.IdempotencyKey, in.Engine, in.RawBody)
	if err != nil {
		return nil, err
	}
	defer done()
	if req.Idempotency = idem; idem != nil {
		req.Encode = func(a instance.Accepted) ([]byte, error) { return json.Marshal(viewAccepted(a)) }
	}
	a, err := s.Service.Create(ctx, principalOf(ctx), req)
	if err != nil {
		return nil, s.fail(err)
	}
	if a.Replay != nil {
		return s.replayCreate(ctx, a.Replay)
	}
	return accepted(a), nil
}

// replayCreate answers a create that was accepted before: with the same instance and job,
// as they are now.
func (s *server) replayCreate(ctx context.Context, kept []byte) (*acceptedOutput, error) {
	var v acceptedView
	if err := json.Unmarshal(kept, &v); err != nil {
		return nil, s.fail(fmt.Errorf("read stored response: %w", err))
	}
	me := principalOf(ctx)
	inst, err := s.Service.Get(ctx, me, "", v.Instance.ID)
	switch {
	case err == nil:
		v.Instance = viewInstance(inst)
	case errors.Is(err, fault.ErrNotFound): // deleted, and not kept any more
		v.Instance.State = instance.StateDeleted
	default:
		return nil, s.fail(err)
	}
	job, err := s.Service.Job(ctx, me, v.Job.ID)
	if err == nil {
		v.Job = viewJob(job)
	} else if !errors.Is(err, fault.ErrNotFound) {
		return nil, s.fail(err)
	}
	secret, err := s.Service.CallbackSecret(ctx, me, v.Instance.ID)
	if err != nil {
		return nil, s.fail(err)
	}
	v.WebhookSecret = secret.Reveal()
	return &acceptedOutput{Location: jobPath(v.Job.ID), RetryAfter: 1, Replayed: replayed(true), Body: v}, nil
}

func (s *server) deleteInstance(ctx context.Context, in *struct {
	EngineInstancePath
	CallbackURL string `query:"callback_url" doc:"URL that receives a signed POST when the job ends"`
	Force       bool   `query:"force" doc:"do not wait for the instance's host: it is deleted at once, and what is left on the host is removed when that answers"`
},
) (*acceptedOutput, error) {
	remove := s.Service.Delete
	if in.Force {
		remove = s.Service.ForceDelete
	}
	a, err := remove(ctx, principalOf(ctx), in.Engine, instance.ID(in.ID), in.CallbackURL)
	if err != nil {
		return nil, s.fail(err)
	}
	return accepted(a), nil
}

type actionBody struct {
	Force       bool   `json:"force,omitempty" doc:"do not let the server end by itself (restart, stop)"`
	CallbackURL string `json:"callback_url,omitempty" doc:"URL that receives a signed POST when the job ends"`
}

type actionInput struct {
	EngineInstancePath
	Body *actionBody
}

func (s *server) actOnInstance(ctx context.Context, in *actionInput, do func(context.Context, tenant.Principal, string, instance.ID, instance.Action) (instance.Accepted, error)) (*acceptedOutput, error) {
	var a instance.Action
	if in.Body != nil {
		a = instance.Action{Force: in.Body.Force, CallbackURL: in.Body.CallbackURL}
	}
	acted, err := do(ctx, principalOf(ctx), in.Engine, instance.ID(in.ID), a)
	if err != nil {
		return nil, s.fail(err)
	}
	return accepted(acted), nil
}

func (s *server) listInstances(ctx context.Context, engine string, in *ListInput) (*body[pageView[instanceView]], error) {
	filter := instance.Filter{
		Engine: engine, State: instance.State(in.State), Name: in.Name, Deleted: in.Deleted, Labels: map[string]string{},
	}
	for _, label := range in.Label {
		name, value, ok := strings.Cut(label, "=")
		if !ok || name == "" {
			return nil, s.fail(&fault.Error{
				Code: fault.CodeInvalid, Message: refused,
				Fields: []fault.FieldError{{Field: "label", Message: "must be name=value"}},
			})
		}
		filter.Labels[name] = value
	}
	list, next, err := s.Service.List(ctx, principalOf(ctx), filter, in.page())
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[pageView[instanceView]]{viewPage(list, next, viewInstance)}, nil
}

func (s *server) getInstance(ctx context.Context, engine, id string) (*body[instanceView], error) {
	inst, err := s.Service.Get(ctx, principalOf(ctx), engine, instance.ID(id))
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[instanceView]{viewInstance(inst)}, nil
}

type configFileView struct {
	Name    string `json:"name"`
	Content string `json:"content"`
}

type formsView struct {
	Env     string `json:"env" doc:"lines of NAME=value, quoted for a shell where that is needed"`
	JDBC    string `json:"jdbc,omitempty" doc:"a URL of JDBC (MySQL)"`
	DSN     string `json:"dsn,omitempty" doc:"a data source name of go-sql-driver/mysql"`
	MariaDB string `json:"mariadb,omitempty" doc:"a URI for clients that go by mariadb://"`
}

type tlsView struct {
	CA         string `json:"ca" doc:"certificate, in PEM, of the authority that clients verify the server by"`
	Port       int    `json:"port"`
	Required   bool   `json:"required" doc:"whether connections without TLS are refused"`
	URI        string `json:"uri"`
	CLI        string `json:"cli" doc:"a command line to paste, in a folder in which ca.pem is the CA"`
	DSN        string `json:"dsn,omitempty" doc:"a data source name of go-sql-driver/mysql, for a configuration that is registered as berth"`
	ValidUntil stamp  `json:"valid_until" doc:"end of the server's certificate, which is renewed before"`
}

func viewTLS(c *instance.TLSConnection) *tlsView {
	if c == nil {
		return nil
	}
	return &tlsView{CA: c.CA, Port: c.Port, Required: c.Required, URI: c.URI.Reveal(), CLI: c.CLI.Reveal(), DSN: c.DSN.Reveal(), ValidUntil: at(c.Until)}
}

type configView struct {
	Engine     string         `json:"engine"`
	Host       string         `json:"host"`
	Port       int            `json:"port"`
	Username   string         `json:"username"`
	Password   string         `json:"password"`
	Database   string         `json:"database,omitempty"`
	URI        string         `json:"uri"`
	CLI        string         `json:"cli" doc:"a command line to paste"`
	Forms      formsView      `json:"forms" doc:"the same, ready for programs"`
	TLS        *tlsView       `json:"tls,omitempty" doc:"how to connect with TLS; absent if the server has no certificate of the deployment's authority"`
	Parameters map[string]any `json:"parameters" doc:"the settings in force"`
	File       configFileView `json:"file" doc:"the configuration file that the server runs with"`
}

func (s *server) getConfig(ctx context.Context, in *EngineInstancePath) (*body[configView], error) {
	inst, c, err := s.Service.Config(ctx, principalOf(ctx), in.Engine, instance.ID(in.ID))
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[configView]{configView{
		Engine: inst.Spec.Engine, Host: c.Host, Port: c.Port, Username: c.Username, Password: c.Password.Reveal(), Database: c.Database,
		URI: c.URI.Reveal(), CLI: c.CLI.Reveal(), Parameters: inst.Spec.Parameters, File: configFileView(c.File),
		TLS:   viewTLS(c.TLS),
		Forms: formsView{Env: c.Forms.Env.Reveal(), JDBC: c.Forms.JDBC.Reveal(), DSN: c.Forms.DSN.Reveal(), MariaDB: c.Forms.MariaDB.Reveal()},
	}}, nil
}
