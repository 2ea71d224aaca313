package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/tenant"
)

// TenantPath is the part of a path that names a tenant.
type TenantPath struct {
	ID string `path:"id" doc:"id of the tenant"`
}

func (p TenantPath) id() tenant.ID { return tenant.ID(p.ID) }

func (s *server) tenantRoutes(h huma.API) {
	op := operations("tenants", basePath+"/tenants")
	me := op("get-me", http.MethodGet, "", "Get the caller: name, role and tenant", tenant.Identify, 200)
	me.Path = basePath + "/me"
	huma.Register(h, me, s.getMe)
	huma.Register(h, op("list-tenants", http.MethodGet, "", "List tenants, newest first: an operator's list has all", tenant.Read, 200), s.listTenants)
	huma.Register(h, op("create-tenant", http.MethodPost, "", "Create a tenant", tenant.Operate, 201, 409, 422, 503), s.createTenant)
	huma.Register(h, op("get-tenant", http.MethodGet, "/{id}", "Get a tenant", tenant.Read, 200, 404), s.getTenant)
	remove := op("delete-tenant", http.MethodDelete, "/{id}", "Delete a tenant that has no instances", tenant.Operate, 204, 404, 409)
	remove.Description = "Its keys, memberships, invitations and grants end with it."
	huma.Register(h, remove, s.deleteTenant)
	huma.Register(h, op("change-tenant", http.MethodPatch, "/{id}", "Rename a tenant", tenant.Operate, 200, 404, 422, 503), s.changeTenant)
}

type tenantView struct {
	ID        tenant.ID `json:"id"`
	Name      string    `json:"name"`
	CreatedAt stamp     `json:"created_at"`
	UpdatedAt stamp     `json:"updated_at"`
}

func viewTenant(t tenant.Tenant) tenantView {
	return tenantView{ID: t.ID, Name: t.Name, CreatedAt: at(t.CreatedAt), UpdatedAt: at(t.UpdatedAt)}
}

type meView struct {
	Name     string       `json:"name" doc:"who the caller is, as logs and records name them"`
	TenantID tenant.ID    `json:"tenant_id" doc:"tenant that the caller's requests are about"`
	Role     tenant.Role  `json:"role,omitempty" enum:"viewer,member,owner" doc:"role in that tenant; absent if the caller is no member"`
	Operator bool         `json:"operator" doc:"the caller runs the platform"`
	KeyID    tenant.KeyID `json:"key_id,omitempty" doc:"API key of the request"`

	KeyLimits

	UserID      tenant.UserID    `json:"user_id,omitempty" doc:"user whose session made the request"`
	Login       string           `json:"login,omitempty" doc:"the user's login name"`
	DisplayName string           `json:"display_name,omitempty" doc:"the user's name for people"`
	SessionID   tenant.SessionID `json:"session_id,omitempty"`
	Tenants     []workplaceView  `json:"tenants,omitempty" doc:"tenants that the user is a member of"`
}

type workplaceView struct {
	TenantID tenant.ID   `json:"tenant_id"`
	Name     string      `json:"name"`
	Role     tenant.Role `json:"role" enum:"viewer,member,owner"`
	Since    stamp       `json:"since"`
}

func (s *server) getMe(ctx context.Context, _ *struct{}) (*body[meView], error) {
	p := principalOf(ctx)
	me := meView{Name: p.Name, TenantID: p.Tenant, Role: p.Role, Operator: p.Operator, KeyID: p.Key, KeyLimits: KeyLimits(p.Limits)}
	if p.User == "" {
		return &body[meView]{me}, nil
	}
	u, places, err := s.Accounts.Profile(ctx, p)
	if err != nil {
		return nil, s.fail(err)
	}
	me.UserID, me.Login, me.DisplayName, me.SessionID = u.ID, u.Login, u.Name, p.Session
	for _, w := range places {
		me.Tenants = append(me.Tenants, workplaceView{TenantID: w.Tenant.ID, Name: w.Tenant.Name, Role: w.Role, Since: at(w.Since)})
	}
	return &body[meView]{me}, nil
}

func (s *server) listTenants(ctx context.Context, in *PageInput) (*body[pageView[tenantView]], error) {
	list, next, err := s.Tenants.Tenants(ctx, principalOf(ctx), in.page())
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[pageView[tenantView]]{viewPage(list, next, viewTenant)}, nil
}

type tenantBody struct {
	Name string `json:"name" doc:"unique among the tenants"`
}

type createTenantOutput struct {
	Location string `header:"Location" doc:"path of the tenant"`
	Replayed string `header:"Idempotency-Replayed" doc:"true if an earlier request with this Idempotency-Key created it; the response shows its current state"`
	Body     tenantView
}

func (s *server) createTenant(ctx context.Context, in *struct {
	KeyInput
	Body tenantBody
},
) (*createTenantOutput, error) {
	idem, done, err := s.keyedBody(ctx, in.IdempotencyKey, "POST /tenants", in.Body)
	if err != nil {
		return nil, err
	}
	defer done()
	t, again, err := s.Tenants.CreateTenant(ctx, principalOf(ctx), in.Body.Name, idem)
	if err != nil {
		return nil, s.fail(err)
	}
	return &createTenantOutput{Location: basePath + "/tenants/" + string(t.ID), Replayed: replayed(again), Body: viewTenant(t)}, nil
}

// tenantAnswer encodes what a use case gave.
func (s *server) tenantAnswer(t tenant.Tenant, err error) (*body[tenantView], error) {
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[tenantView]{viewTenant(t)}, nil
}

func (s *server) getTenant(ctx context.Context, in *TenantPath) (*body[tenantView], error) {
	return s.tenantAnswer(s.Tenants.Tenant(ctx, principalOf(ctx), in.id()))
}

func (s *server) changeTenant(ctx context.Context, in *struct {
	TenantPath
	Body tenantBody
},
) (*body[tenantView], error) {
	return s.tenantAnswer(s.Tenants.RenameTenant(ctx, principalOf(ctx), in.id(), in.Body.Name))
}

func (s *server) deleteTenant(ctx context.Context, in *TenantPath) (*struct{}, error) {
	if err := s.Tenants.DeleteTenant(ctx, principalOf(ctx), in.id()); err != nil {
		return nil, s.fail(err)
	}
	return nil, nil
}

func (s *server) keyRoutes(h huma.API) {
	op := operations("keys", basePath+"/keys")
	huma.Register(h, op("list-keys", http.MethodGet, "", "List API keys, newest first", tenant.Manage, 200), s.listKeys)
	huma.Register(h, op("create-key", http.MethodPost, "", "Create an API key; it is returned only here", tenant.Manage, 201, 404, 409, 410, 422, 503), s.createKey)
	huma.Register(h, op("revoke-key", http.MethodDelete, "/{id}", "Revoke an API key: within a second no server accepts it", tenant.Manage, 204, 404, 503), s.revokeKey)
}

type keyView struct {
	ID         tenant.KeyID `json:"id"`
	TenantID   tenant.ID    `json:"tenant_id"`
	Name       string       `json:"name"`
	Role       tenant.Role  `json:"role" enum:"viewer,member,owner,operator"`
	Hint       string       `json:"hint" doc:"last characters of the key"`
	CreatedBy  string       `json:"created_by"`
	CreatedAt  stamp        `json:"created_at"`
	ExpiresAt  stamp        `json:"expires_at,omitempty" doc:"absent: never"`
	LastUsedAt stamp        `json:"last_used_at,omitempty" doc:"to the minute; absent: never"`
	Key        string       `json:"key,omitempty" doc:"the key itself; returned only by create"`

	KeyLimits
}

// KeyLimits are what a key is limited to, as clients see it.
type KeyLimits struct {
	Engines []string          `json:"engines,omitempty" nullable:"false" doc:"the key is limited to instances of these engines; absent or empty: it is not"`
	Labels  map[string]string `json:"labels,omitempty" doc:"the key is limited to instances with all of these labels"`
}

func viewKey(k tenant.Key) keyView {
	return keyView{
		ID: k.ID, TenantID: k.Tenant, Name: k.Name, Role: k.Role, KeyLimits: KeyLimits(k.Limits), Hint: k.Hint, CreatedBy: k.CreatedBy,
		CreatedAt: at(k.CreatedAt), ExpiresAt: at(k.ExpiresAt), LastUsedAt: at(k.UsedAt),
	}
}

func (s *server) listKeys(ctx context.Context, in *PageInput) (*body[pageView[keyView]], error) {
	list, next, err := s.Keys.Keys(ctx, principalOf(ctx), in.page())
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[pageView[keyView]]{viewPage(list, next, viewKey)}, nil
}

type keyBody struct {
	Name      string      `json:"name" doc:"what the key is for, as people read it"`
	Role      tenant.Role `json:"role" doc:"viewer reads; member also creates, changes and deletes, and reads credentials; owner also manages members, keys and webhooks; operator runs the platform"`
	TenantID  tenant.ID   `json:"tenant_id,omitempty" doc:"tenant of the key, for operators; absent: the caller's"`
	ExpiresAt *time.Time  `json:"expires_at,omitempty" doc:"absent: never"`

	KeyLimits
}

func (b keyBody) request() tenant.KeyRequest {
	return tenant.KeyRequest{Tenant: b.TenantID, Name: b.Name, Role: b.Role, Limits: tenant.Limits(b.KeyLimits), ExpiresAt: b.ExpiresAt}
}

type createKeyOutput struct {
	Replayed string `header:"Idempotency-Replayed" doc:"true if an earlier request with this Idempotency-Key created it; the response has that key"`
	Body     keyView
}

func (s *server) createKey(ctx context.Context, in *struct {
	KeyInput
	Body keyBody
},
) (*createKeyOutput, error) {
	idem, done, err := s.keyedBody(ctx, in.IdempotencyKey, "POST /keys", in.Body)
	if err != nil {
		return nil, err
	}
	defer done()
	k, token, again, err := s.Keys.CreateKey(ctx, principalOf(ctx), in.Body.request(), idem)
	if err != nil {
		return nil, s.fail(err)
	}
	v := viewKey(k)
	v.Key = token.Reveal()
	return &createKeyOutput{Replayed: replayed(again), Body: v}, nil
}

func (s *server) revokeKey(ctx context.Context, in *struct {
	ID string `path:"id" doc:"id of the key"`
},
) (*struct{}, error) {
	if err := s.Keys.RevokeKey(ctx, principalOf(ctx), tenant.KeyID(in.ID)); err != nil {
		return nil, s.fail(err)
	}
	return nil, nil
}
