package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

// jsonLinesType is the type of JSON texts, one a line (https://github.com/ndjson/ndjson-spec).
const jsonLinesType = "application/x-ndjson"

// wantsLines reports whether the client asks for JSON lines.
func wantsLines(accept string) bool { return strings.Contains(accept, jsonLinesType) }

type entryView struct {
	Number       int64            `json:"number" doc:"place in the chain, from 1, without gaps in the whole deployment"`
	ID           tenant.EntryID   `json:"id"`
	CreatedAt    stamp            `json:"created_at"`
	TenantID     tenant.ID        `json:"tenant_id,omitempty" doc:"tenant whose log it is in; absent: the platform's"`
	Actor        string           `json:"actor" doc:"who did it"`
	UserID       tenant.UserID    `json:"user_id,omitempty"`
	KeyID        tenant.KeyID     `json:"key_id,omitempty" doc:"API key of the request"`
	SessionID    tenant.SessionID `json:"session_id,omitempty"`
	Address      string           `json:"address,omitempty" doc:"IP address of the client"`
	RequestID    string           `json:"request_id,omitempty" doc:"the answer's X-Request-Id"`
	Action       tenant.Action    `json:"action" example:"instance.create"`
	Subject      string           `json:"subject,omitempty" doc:"id of what it was done to"`
	JobID        id.Job           `json:"job_id,omitempty" doc:"job that goes on with it"`
	Result       tenant.Result    `json:"result" enum:"done,refused,replayed" doc:"replayed: a repeated request with an Idempotency-Key was shown again the secret that the first was shown"`
	Detail       string           `json:"detail,omitempty" doc:"more, for people"`
	PreviousHash string           `json:"previous_hash,omitempty" doc:"hash of the entry before; absent from the first"`
	Hash         string           `json:"hash" doc:"SHA-256 of this entry and previous_hash"`
}

func viewEntry(e audit.Entry) entryView {
	return entryView{
		Number: e.Number, ID: e.ID, CreatedAt: at(e.At), TenantID: e.Tenant, Actor: e.Actor, UserID: e.User, KeyID: e.Key, SessionID: e.Session, Address: e.Address,
		RequestID: e.Request, Action: e.Action, Subject: e.On, JobID: e.Job, Result: e.Result, Detail: e.Detail, PreviousHash: e.Previous, Hash: e.Hash,
	}
}

const auditDoc = "Returns who did what, on what, from where, when, by which key or session, and with what result, newest first: all changes, all reading of credentials, " +
	"and requests that were refused. With `Accept: application/x-ndjson` the response is the whole list, one JSON object a line. " +
	"The entries of all tenants together form a chain: each has the hash of the one before, so that `berth audit verify` finds what was changed or removed."

func (s *server) auditRoutes(h huma.API) {
	op := operations("audit", basePath)("list-audit", http.MethodGet, "/audit", "List the audit log, newest first", tenant.Manage, 200)
	op.Description = auditDoc
	schemas := h.OpenAPI().Components.Schemas
	list := schemas.Schema(reflect.TypeFor[pageView[entryView]](), true, "pageViewEntryView")
	line := schemas.Schema(reflect.TypeFor[entryView](), true, "entryView")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "OK", Content: map[string]*huma.MediaType{"application/json": {Schema: list}, jsonLinesType: {Schema: line}},
	}}
	huma.Register(h, op, s.listAudit)
}

type listAuditInput struct {
	PageInput
	All     bool          `query:"all" doc:"the log of all tenants and of the platform, for operators"`
	Action  tenant.Action `query:"action" doc:"return only entries of this action"`
	UserID  tenant.UserID `query:"user_id"`
	KeyID   tenant.KeyID  `query:"key_id"`
	Subject string        `query:"subject" doc:"return only what was done to this"`
	Result  tenant.Result `query:"result" enum:"done,refused,replayed"`
	Since   time.Time     `query:"since" doc:"return only entries of this time or later"`
	Until   time.Time     `query:"until" doc:"return only entries before this time"`
	Accept  string        `header:"Accept" hidden:"true"`
}

func (in *listAuditInput) filter() audit.Filter {
	return audit.Filter{All: in.All, Action: in.Action, User: in.UserID, Key: in.KeyID, On: in.Subject, Result: in.Result, Since: in.Since, Until: in.Until}
}

func (s *server) listAudit(ctx context.Context, in *listAuditInput) (*huma.StreamResponse, error) {
	lines := wantsLines(in.Accept)
	asked := in.page()
	if lines {
		asked.Limit = page.MaxLimit
	}
	list, next, err := s.Audit.Entries(ctx, principalOf(ctx), in.filter(), asked)
	if err != nil {
		return nil, s.fail(err)
	}
	return &huma.StreamResponse{Body: func(h huma.Context) { //nolint:contextcheck // it has the request's own
		enc := json.NewEncoder(h.BodyWriter())
		if !lines {
			h.SetHeader("Content-Type", "application/json")
			s.written(enc.Encode(viewPage(list, next, viewEntry)))
			return
		}
		h.SetHeader("Content-Type", jsonLinesType)
		for {
			for _, e := range list {
				if !s.written(enc.Encode(viewEntry(e))) {
					return
				}
			}
			if next == "" {
				return
			}
			if list, next, err = s.Audit.Entries(h.Context(), principalOf(h.Context()), in.filter(), page.Page{Before: next, Limit: page.MaxLimit}); err != nil {
				s.Log.WarnContext(h.Context(), "the audit log was not sent to its end", "error", err)
				panic(http.ErrAbortHandler) // or what there is would look like all
			}
		}
	}}, nil
}

// written reports whether an answer could be written.
func (s *server) written(err error) bool {
	if err != nil {
		s.Log.Debug("response not written", "error", err)
	}
	return err == nil
}

// noteLimit bounds the writing of an entry for which nobody waits.
const noteLimit = 2 * time.Second

// noteRefusal writes down that somebody who is known was refused something: err is what the
// handler returned, if it did not answer itself.
func (s *server) noteRefusal(c echo.Context, p tenant.Principal, err error) {
	refused := c.Response().Status == http.StatusForbidden
	if err != nil {
		var known *problem
		refused = errors.As(err, &known) && known.Status == http.StatusForbidden
	}
	if !refused || p.User == "" && p.Key == "" && !p.Operator {
		return
	}
	r := c.Request()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), noteLimit)
	defer cancel()
	path := withoutKeys(r.URL.Path)
	if err := s.Audit.Note(ctx, p, tenant.Deed{Action: tenant.ActRequest, Result: tenant.Refused, Detail: r.Method + " " + path}); err != nil {
		s.Log.WarnContext(ctx, "a refused request is missing in the audit log", "by", p.Name, "path", path, "error", err)
	}
}
