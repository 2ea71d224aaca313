package client

import (
	"context"
	"net/http"
	"time"
)

// User is a person who logs in with a password.
type User struct {
	ID        string    `json:"id"`
	Login     string    `json:"login"`
	Name      string    `json:"name,omitempty"`
	Operator  bool      `json:"operator"`
	Disabled  bool      `json:"disabled"`
	CreatedAt time.Time `json:"created_at"`
}

// UserRequest asks for an account.
type UserRequest struct {
	Login      string `json:"login"`
	Password   string `json:"password,omitempty"`
	Name       string `json:"name,omitempty"`
	Invitation string `json:"invitation,omitempty"`
	Operator   bool   `json:"operator,omitempty"`
	TenantID   string `json:"tenant_id,omitempty"`
	Role       string `json:"role,omitempty"`
}

// UserChange changes a user; what is nil stays.
type UserChange struct {
	Operator *bool `json:"operator,omitempty"`
	Disabled *bool `json:"disabled,omitempty"`
}

// Session is a log-in.
type Session struct {
	ID        string    `json:"id"`
	UserID    string    `json:"user_id"`
	TenantID  string    `json:"tenant_id,omitempty"`
	ExpiresAt time.Time `json:"expires_at"`
	Token     string    `json:"token,omitempty"`
}

// Member is a user in a tenant.
type Member struct {
	UserID    string    `json:"user_id"`
	TenantID  string    `json:"tenant_id"`
	Role      string    `json:"role"`
	Login     string    `json:"login"`
	Name      string    `json:"name,omitempty"`
	Disabled  bool      `json:"disabled"`
	CreatedAt time.Time `json:"created_at"`
}

// Invitation lets whoever has its token become a member.
type Invitation struct {
	ID        string    `json:"id"`
	TenantID  string    `json:"tenant_id"`
	Role      string    `json:"role"`
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Token     string    `json:"token,omitempty"` // in the answer to Invite only
}

// PasswordReset lets whoever has its token set a user's password.
type PasswordReset struct {
	UserID    string    `json:"user_id"`
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Users gives one page of users.
func (c *Client) Users(ctx context.Context, limit int, cursor string) (Page[User], error) {
	var out Page[User]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"users"}, query: pageQuery(limit, cursor)}, &out)
	return out, err
}

// AddUser makes an account. It is sent once: another attempt would find its own login name taken.
func (c *Client) AddUser(ctx context.Context, in UserRequest) (User, error) {
	var out User
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"users"}, body: in, once: true}, &out)
	return out, err
}

// ChangeUser changes a user.
func (c *Client) ChangeUser(ctx context.Context, id string, change UserChange) (User, error) {
	var out User
	err := c.do(ctx, call{method: http.MethodPatch, path: []string{"users", id}, body: change}, &out)
	return out, err
}

// LogIn begins a session.
func (c *Client) LogIn(ctx context.Context, login, password, tenant string) (Session, error) {
	body := map[string]string{"login": login, "password": password}
	if tenant != "" {
		body["tenant_id"] = tenant
	}
	var out Session
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"sessions"}, body: body, once: true}, &out)
	return out, err
}

// LogOut ends the session, or all sessions of its user.
func (c *Client) LogOut(ctx context.Context, everywhere bool) error {
	path := []string{"sessions", "current"}
	if everywhere {
		path = path[:1]
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path}, nil)
}

// ChangePassword sets another password, and returns the session that goes on.
func (c *Client) ChangePassword(ctx context.Context, old, fresh string) (Session, error) {
	var out Session
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"me", "password"}, body: map[string]string{"old": old, "new": fresh}, once: true}, &out)
	return out, err
}

// ResetPassword makes a token by which a user, given by id or login name, can set a password.
func (c *Client) ResetPassword(ctx context.Context, idempotencyKey string, user map[string]string) (PasswordReset, error) {
	var out PasswordReset
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"password-resets"}, body: user, idempotencyKey: idempotencyKey}, &out)
	return out, err
}

// UseReset sets a password with a token.
func (c *Client) UseReset(ctx context.Context, token, password string) error {
	body := map[string]string{"token": token, "password": password}
	return c.do(ctx, call{method: http.MethodPost, path: []string{"password-resets", "use"}, body: body, once: true}, nil)
}

// Members gives one page of a tenant's members.
func (c *Client) Members(ctx context.Context, tenant string, limit int, cursor string) (Page[Member], error) {
	var out Page[Member]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"tenants", tenant, "members"}, query: pageQuery(limit, cursor)}, &out)
	return out, err
}

// AddMember makes a user a member; in has role, and user_id or login.
func (c *Client) AddMember(ctx context.Context, tenant string, in map[string]string) (Member, error) {
	var out Member
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"tenants", tenant, "members"}, body: in, once: true}, &out)
	return out, err
}

// ChangeMember gives a member another role.
func (c *Client) ChangeMember(ctx context.Context, tenant, user, role string) (Member, error) {
	var out Member
	err := c.do(ctx, call{method: http.MethodPatch, path: []string{"tenants", tenant, "members", user}, body: map[string]string{"role": role}}, &out)
	return out, err
}

// RemoveMember ends a membership.
func (c *Client) RemoveMember(ctx context.Context, tenant, user string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: []string{"tenants", tenant, "members", user}}, nil)
}

// Invitations gives one page of a tenant's open invitations.
func (c *Client) Invitations(ctx context.Context, tenant string, limit int, cursor string) (Page[Invitation], error) {
	var out Page[Invitation]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"tenants", tenant, "invitations"}, query: pageQuery(limit, cursor)}, &out)
	return out, err
}

// Invite makes an invitation.
func (c *Client) Invite(ctx context.Context, idempotencyKey, tenant, role string) (Invitation, error) {
	var out Invitation
	err := c.do(ctx, call{
		method: http.MethodPost, path: []string{"tenants", tenant, "invitations"}, body: map[string]string{"role": role}, idempotencyKey: idempotencyKey,
	}, &out)
	return out, err
}

// Withdraw ends an invitation.
func (c *Client) Withdraw(ctx context.Context, tenant, invitation string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: []string{"tenants", tenant, "invitations", invitation}}, nil)
}

// Join makes the user of the session a member by an invitation.
func (c *Client) Join(ctx context.Context, token string) (Member, error) {
	var out Member
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"invitations", "use"}, body: map[string]string{"token": token}, once: true}, &out)
	return out, err
}
