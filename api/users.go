package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/tenant"
)

// usersPath takes sign-ups of anybody, and accounts that operators make.
const usersPath = basePath + "/users"

func (s *server) userRoutes(h huma.API) {
	op := operations("users", usersPath)
	create := op("create-user", http.MethodPost, "", "Sign up, or as an operator create a user", tenant.Anybody, 201, 404, 409, 429)
	create.Description = "Without a key this is a sign-up, which the server may take from nobody, with an invitation, or from anybody (`BERTH_SIGN_UP`)."
	huma.Register(h, create, s.createUser)
	huma.Register(h, op("list-users", http.MethodGet, "", "List users, newest first", tenant.Operate, 200), s.listUsers)
	huma.Register(h, op("change-user", http.MethodPatch, "/{id}", "Change a user: disabling ends all sessions at once", tenant.Operate, 200, 404, 409), s.changeUser)
}

type userView struct {
	ID        tenant.UserID `json:"id"`
	Login     string        `json:"login" doc:"what the user logs in with"`
	Name      string        `json:"name,omitempty" doc:"for people"`
	Operator  bool          `json:"operator" doc:"the user runs the platform"`
	Disabled  bool          `json:"disabled"`
	CreatedAt stamp         `json:"created_at"`
	UpdatedAt stamp         `json:"updated_at"`
}

func viewUser(u tenant.User) userView {
	return userView{
		ID: u.ID, Login: u.Login, Name: u.Name, Operator: u.Operator, Disabled: u.Disabled(), CreatedAt: at(u.CreatedAt), UpdatedAt: at(u.UpdatedAt),
	}
}

type createUserBody struct {
	Login      string      `json:"login" doc:"a name or an e-mail address of at most 100 characters; case does not matter"`
	Password   string      `json:"password,omitempty" doc:"12 characters to 1000 bytes; operators may leave it out and make a password reset instead"`
	Name       string      `json:"name,omitempty" doc:"for people"`
	Invitation string      `json:"invitation,omitempty" doc:"token of an invitation to a tenant"`
	Operator   bool        `json:"operator,omitempty" doc:"the user runs the platform; for operators"`
	TenantID   tenant.ID   `json:"tenant_id,omitempty" doc:"tenant to become a member of; for operators"`
	Role       tenant.Role `json:"role,omitempty" doc:"role in that tenant; for operators"`
}

func (s *server) createUser(ctx context.Context, in *struct{ Body createUserBody }) (*body[userView], error) {
	b := in.Body
	u, err := s.Accounts.CreateUser(ctx, principalOf(ctx), tenant.UserRequest{
		Login: b.Login, Name: b.Name, Password: b.Password, Invitation: b.Invitation, Operator: b.Operator, Tenant: b.TenantID, Role: b.Role,
	})
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[userView]{viewUser(u)}, nil
}

func (s *server) listUsers(ctx context.Context, in *PageInput) (*body[pageView[userView]], error) {
	list, next, err := s.Accounts.Users(ctx, principalOf(ctx), in.page())
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[pageView[userView]]{viewPage(list, next, viewUser)}, nil
}

func (s *server) changeUser(ctx context.Context, in *struct {
	ID   string `path:"id" doc:"id of the user"`
	Body struct {
		Name     *string `json:"name,omitempty"`
		Operator *bool   `json:"operator,omitempty"`
		Disabled *bool   `json:"disabled,omitempty"`
	}
},
) (*body[userView], error) {
	change := tenant.UserChange{Name: in.Body.Name, Operator: in.Body.Operator, Disabled: in.Body.Disabled}
	u, err := s.Accounts.ChangeUser(ctx, principalOf(ctx), tenant.UserID(in.ID), change)
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[userView]{viewUser(u)}, nil
}
