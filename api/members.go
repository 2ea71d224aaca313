package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/tenant"
)

func (s *server) memberRoutes(h huma.API) {
	op, one := operations("members", basePath), "/tenants/{id}/members/{user}"
	huma.Register(h, op("list-members", http.MethodGet, "/tenants/{id}/members", "List the members of a tenant", tenant.Read, 200, 404), s.listMembers)
	huma.Register(h, op("add-member", http.MethodPost, "/tenants/{id}/members", "Make a user a member", tenant.Manage, 201, 404, 409), s.addMember)
	huma.Register(h, op("change-member", http.MethodPatch, one, "Give a member another role", tenant.Manage, 200, 404, 409), s.changeMember)
	remove := op("remove-member", http.MethodDelete, one, "Remove a member: within a second they see nothing of the tenant", tenant.Manage, 204, 404, 409)
	remove.Description = "Members may remove themselves. The last owner of a tenant stays, unless an operator removes them."
	huma.Register(h, remove, s.removeMember)
}

type memberView struct {
	UserID    tenant.UserID `json:"user_id"`
	TenantID  tenant.ID     `json:"tenant_id"`
	Role      tenant.Role   `json:"role" enum:"viewer,member,owner"`
	Login     string        `json:"login"`
	Name      string        `json:"name,omitempty" doc:"for people"`
	Disabled  bool          `json:"disabled" doc:"the user cannot log in"`
	CreatedAt stamp         `json:"created_at" doc:"when the user became a member"`
}

func viewMember(m tenant.Membership) memberView {
	return memberView{
		UserID: m.User, TenantID: m.Tenant, Role: m.Role, Login: m.Login, Name: m.Name, Disabled: m.Disabled, CreatedAt: at(m.CreatedAt),
	}
}

// memberAnswer encodes what a use case gave.
func (s *server) memberAnswer(m tenant.Membership, err error) (*body[memberView], error) {
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[memberView]{viewMember(m)}, nil
}

func (s *server) listMembers(ctx context.Context, in *struct {
	TenantPath
	PageInput
},
) (*body[pageView[memberView]], error) {
	list, next, err := s.Members.Members(ctx, principalOf(ctx), in.id(), in.page())
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[pageView[memberView]]{viewPage(list, next, viewMember)}, nil
}

func (s *server) addMember(ctx context.Context, in *struct {
	TenantPath
	Body struct {
		UserID tenant.UserID `json:"user_id,omitempty" doc:"the user sees it in GET /api/v1/me"`
		Login  string        `json:"login,omitempty" doc:"instead of user_id, for operators"`
		Role   tenant.Role   `json:"role" doc:"viewer, member or owner"`
	}
},
) (*body[memberView], error) {
	return s.memberAnswer(s.Members.AddMember(ctx, principalOf(ctx), in.id(), tenant.MemberRequest{User: in.Body.UserID, Login: in.Body.Login, Role: in.Body.Role}))
}

// MemberPath is the part of a path that names a member.
type MemberPath struct {
	TenantPath
	User string `path:"user" doc:"id of the user"`
}

func (p MemberPath) user() tenant.UserID { return tenant.UserID(p.User) }

func (s *server) changeMember(ctx context.Context, in *struct {
	MemberPath
	Body struct {
		Role tenant.Role `json:"role" doc:"viewer, member or owner"`
	}
},
) (*body[memberView], error) {
	return s.memberAnswer(s.Members.ChangeRole(ctx, principalOf(ctx), in.id(), in.user(), in.Body.Role))
}

func (s *server) removeMember(ctx context.Context, in *MemberPath) (*struct{}, error) {
	if err := s.Members.RemoveMember(ctx, principalOf(ctx), in.id(), in.user()); err != nil {
		return nil, s.fail(err)
	}
	return nil, nil
}

func (s *server) invitationRoutes(h huma.API) {
	op := operations("members", basePath)
	huma.Register(h, op("list-invitations", http.MethodGet, "/tenants/{id}/invitations", "List open invitations, newest first", tenant.Manage, 200, 404), s.listInvitations)
	huma.Register(h, op("create-invitation", http.MethodPost, "/tenants/{id}/invitations", "Create an invitation; its token is returned only here", tenant.Manage, 201, 404, 409, 410), s.createInvitation)
	huma.Register(h, op("withdraw-invitation", http.MethodDelete, "/tenants/{id}/invitations/{invitation}", "Withdraw an invitation", tenant.Manage, 204, 404), s.withdrawInvitation)
	huma.Register(h, op("use-invitation", http.MethodPost, "/invitations/use", "Become a member by an invitation", tenant.Oneself, 201, 404, 409), s.useInvitation)
}

type invitationView struct {
	ID        tenant.InvitationID `json:"id"`
	TenantID  tenant.ID           `json:"tenant_id"`
	Role      tenant.Role         `json:"role" enum:"viewer,member,owner"`
	CreatedBy string              `json:"created_by"`
	CreatedAt stamp               `json:"created_at"`
	ExpiresAt stamp               `json:"expires_at"`
	Token     string              `json:"token,omitempty" doc:"lets whoever has it become a member, once; returned only by create"`
}

func viewInvitation(i tenant.Invitation) invitationView {
	return invitationView{ID: i.ID, TenantID: i.Tenant, Role: i.Role, CreatedBy: i.CreatedBy, CreatedAt: at(i.CreatedAt), ExpiresAt: at(i.ExpiresAt)}
}

func (s *server) listInvitations(ctx context.Context, in *struct {
	TenantPath
	PageInput
},
) (*body[pageView[invitationView]], error) {
	list, next, err := s.Members.Invitations(ctx, principalOf(ctx), in.id(), in.page())
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[pageView[invitationView]]{viewPage(list, next, viewInvitation)}, nil
}

type inviteBody struct {
	Role tenant.Role `json:"role" doc:"viewer, member or owner"`
}

type invitationOutput struct {
	Replayed string `header:"Idempotency-Replayed" doc:"true if an earlier request with this Idempotency-Key created it; the response has that token"`
	Body     invitationView
}

func (s *server) createInvitation(ctx context.Context, in *struct {
	TenantPath
	KeyInput
	Body inviteBody
},
) (*invitationOutput, error) {
	idem, done, err := s.keyedBody(ctx, in.IdempotencyKey, "POST /tenants/"+in.ID+"/invitations", in.Body)
	if err != nil {
		return nil, err
	}
	defer done()
	inv, token, again, err := s.Members.Invite(ctx, principalOf(ctx), in.id(), in.Body.Role, idem)
	if err != nil {
		return nil, s.fail(err)
	}
	v := viewInvitation(inv)
	v.Token = token.Reveal()
	return &invitationOutput{Replayed: replayed(again), Body: v}, nil
}

func (s *server) withdrawInvitation(ctx context.Context, in *struct {
	TenantPath
	Invitation string `path:"invitation" doc:"id of the invitation"`
},
) (*struct{}, error) {
	if err := s.Members.Withdraw(ctx, principalOf(ctx), in.id(), tenant.InvitationID(in.Invitation)); err != nil {
		return nil, s.fail(err)
	}
	return nil, nil
}

func (s *server) useInvitation(ctx context.Context, in *struct {
	Body struct {
		Token string `json:"token"`
	}
},
) (*body[memberView], error) {
	return s.memberAnswer(s.Members.Join(ctx, principalOf(ctx), in.Body.Token))
}
