package client

import (
	"context"
	"net/http"
	"time"
)

// Me is who the server takes the caller for.
type Me struct {
	Name     string            `json:"name"`
	TenantID string            `json:"tenant_id"`
	Role     string            `json:"role,omitempty"` // in that tenant; empty: no member of it
	Operator bool              `json:"operator"`
	KeyID    string            `json:"key_id,omitempty"`
	Engines  []string          `json:"engines,omitempty"` // what the key is limited to; empty: all
	Labels   map[string]string `json:"labels,omitempty"`

	UserID    string      `json:"user_id,omitempty"` // whose session it is; empty: a key
	Login     string      `json:"login,omitempty"`
	SessionID string      `json:"session_id,omitempty"`
	Tenants   []Workplace `json:"tenants,omitempty"`
}

// Workplace is a tenant that the caller is a member of.
type Workplace struct {
	TenantID string `json:"tenant_id"`
	Name     string `json:"name"`
	Role     string `json:"role"`
}

// Tenant is a team with things of its own.
type Tenant struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
}

// Key is an API key.
type Key struct {
	ID         string            `json:"id"`
	TenantID   string            `json:"tenant_id"`
	Name       string            `json:"name"`
	Role       string            `json:"role"`
	Engines    []string          `json:"engines,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Hint       string            `json:"hint"`
	CreatedBy  string            `json:"created_by"`
	CreatedAt  time.Time         `json:"created_at"`
	ExpiresAt  time.Time         `json:"expires_at,omitzero"`
	LastUsedAt time.Time         `json:"last_used_at,omitzero"`
	Key        string            `json:"key,omitempty"` // in the answer to AddKey only
}

// KeyRequest asks for an API key.
type KeyRequest struct {
	Name      string            `json:"name"`
	Role      string            `json:"role"`
	TenantID  string            `json:"tenant_id,omitempty"` // for operators; empty: the caller's
	Engines   []string          `json:"engines,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	ExpiresAt time.Time         `json:"expires_at,omitzero"`
}

// Me says who the caller is.
func (c *Client) Me(ctx context.Context) (Me, error) {
	var out Me
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"me"}}, &out)
	return out, err
}

// Tenants gives one page of tenants.
func (c *Client) Tenants(ctx context.Context, limit int, cursor string) (Page[Tenant], error) {
	var out Page[Tenant]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"tenants"}, query: pageQuery(limit, cursor)}, &out)
	return out, err
}

// AddTenant makes a tenant.
func (c *Client) AddTenant(ctx context.Context, idempotencyKey, name string) (Tenant, error) {
	var out Tenant
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"tenants"}, body: map[string]string{"name": name}, idempotencyKey: idempotencyKey}, &out)
	return out, err
}

// RenameTenant gives a tenant another name.
func (c *Client) RenameTenant(ctx context.Context, id, name string) (Tenant, error) {
	var out Tenant
	err := c.do(ctx, call{method: http.MethodPatch, path: []string{"tenants", id}, body: map[string]string{"name": name}}, &out)
	return out, err
}

// DeleteTenant deletes a tenant that has no instances.
func (c *Client) DeleteTenant(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: []string{"tenants", id}}, nil)
}

// Keys gives one page of API keys.
func (c *Client) Keys(ctx context.Context, limit int, cursor string) (Page[Key], error) {
	var out Page[Key]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"keys"}, query: pageQuery(limit, cursor)}, &out)
	return out, err
}

// AddKey makes an API key.
func (c *Client) AddKey(ctx context.Context, idempotencyKey string, in KeyRequest) (Key, error) {
	var out Key
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"keys"}, body: in, idempotencyKey: idempotencyKey}, &out)
	return out, err
}

// RevokeKey ends an API key.
func (c *Client) RevokeKey(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: []string{"keys", id}}, nil)
}

// Grant lets an operator read the credentials of a tenant for some time.
type Grant struct {
	ID        string    `json:"id"`
	TenantID  string    `json:"tenant_id"`
	By        string    `json:"by"`
	Reason    string    `json:"reason"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
}

// Grants returns a page of the tenant's grants, newest first.
func (c *Client) Grants(ctx context.Context, tenant string, limit int, cursor string) (Page[Grant], error) {
	var out Page[Grant]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"tenants", tenant, "grants"}, query: pageQuery(limit, cursor)}, &out)
	return out, err
}

// AddGrant lets the caller read the credentials of the tenant for so long; empty: an hour.
func (c *Client) AddGrant(ctx context.Context, tenant, reason, lasts string) (Grant, error) {
	body := map[string]string{"reason": reason}
	if lasts != "" {
		body["lasts"] = lasts
	}
	var out Grant
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"tenants", tenant, "grants"}, body: body, once: true}, &out)
	return out, err
}

// EndGrant ends a grant before its time.
func (c *Client) EndGrant(ctx context.Context, tenant, grant string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: []string{"tenants", tenant, "grants", grant}}, nil)
}
