package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

func (s *server) grantRoutes(h huma.API) {
	op := operations("tenants", basePath+"/tenants/{id}/grants")
	huma.Register(h, op("list-grants", http.MethodGet, "", "List the grants of operators to read the tenant's credentials, newest first", tenant.Manage, 200, 404), s.listGrants)
	create := op("create-grant", http.MethodPost, "", "Let the caller, an operator, read the tenant's credentials for some time", tenant.Operate, 201, 404)
	create.Description = "It ends by itself. The tenant's owners see it in this list and in the audit log, and every reading under it in the audit log."
	huma.Register(h, create, s.createGrant)
	huma.Register(h, op("end-grant", http.MethodDelete, "/{grant}", "End a grant before its time", tenant.Manage, 204, 404), s.endGrant)
}

type grantView struct {
	ID        tenant.GrantID `json:"id"`
	TenantID  tenant.ID      `json:"tenant_id"`
	By        string         `json:"by" doc:"operator whose it is"`
	UserID    tenant.UserID  `json:"user_id,omitempty"`
	KeyID     tenant.KeyID   `json:"key_id,omitempty"`
	Reason    string         `json:"reason"`
	CreatedAt stamp          `json:"created_at"`
	ExpiresAt stamp          `json:"expires_at"`
	EndedAt   stamp          `json:"ended_at,omitempty" doc:"when it was ended before its time"`
}

func viewGrant(g tenant.Grant) grantView {
	return grantView{
		ID: g.ID, TenantID: g.Tenant, By: g.By, UserID: g.User, KeyID: g.Key, Reason: g.Reason, CreatedAt: at(g.CreatedAt), ExpiresAt: at(g.ExpiresAt), EndedAt: at(g.EndedAt),
	}
}

func (s *server) listGrants(ctx context.Context, in *struct {
	TenantPath
	PageInput
},
) (*body[pageView[grantView]], error) {
	list, next, err := s.Grants.Grants(ctx, principalOf(ctx), in.id(), in.page())
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[pageView[grantView]]{viewPage(list, next, viewGrant)}, nil
}

func (s *server) createGrant(ctx context.Context, in *struct {
	TenantPath
	Body struct {
		Reason string `json:"reason" doc:"why it is needed, for the tenant's owners"`
		Lasts  string `json:"lasts,omitempty" doc:"from 1m to 24h; default 1h" example:"30m"`
	}
},
) (*body[grantView], error) {
	var lasts time.Duration
	if in.Body.Lasts != "" {
		var err error
		if lasts, err = time.ParseDuration(in.Body.Lasts); err != nil || lasts == 0 {
			return nil, s.fail(fault.Invalid([]fault.FieldError{{Field: "lasts", Message: "must be a duration, such as 30m"}}))
		}
	}
	g, err := s.Grants.Grant(ctx, principalOf(ctx), in.id(), in.Body.Reason, lasts)
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[grantView]{viewGrant(g)}, nil
}

func (s *server) endGrant(ctx context.Context, in *struct {
	TenantPath
	Grant string `path:"grant" doc:"id of the grant"`
},
) (*struct{}, error) {
	if err := s.Grants.EndGrant(ctx, principalOf(ctx), in.id(), tenant.GrantID(in.Grant)); err != nil {
		return nil, s.fail(err)
	}
	return nil, nil
}
