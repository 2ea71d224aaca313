package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
)

func (s *server) sessionRoutes(h huma.API) {
	op := operations("sessions", basePath+"/sessions")
	huma.Register(h, op("log-in", http.MethodPost, "", "Log in: the token is returned only here", tenant.Anybody, 201, 404, 409, 429), s.logIn)
	huma.Register(h, op("log-out", http.MethodDelete, "/current", "Log out: end the session of the request", tenant.Oneself, 204), s.logOut)
	huma.Register(h, op("log-out-everywhere", http.MethodDelete, "", "Log out everywhere: end all sessions of the user", tenant.Oneself, 204, 409), s.logOutEverywhere)
	huma.Register(h, op("switch-tenant", http.MethodPatch, "/current", "Have the session work in another tenant", tenant.Oneself, 200, 404), s.switchTenant)
}

type sessionView struct {
	ID        tenant.SessionID `json:"id"`
	UserID    tenant.UserID    `json:"user_id"`
	TenantID  tenant.ID        `json:"tenant_id,omitempty" doc:"tenant that the session works in; absent: the user is a member of none"`
	CreatedAt stamp            `json:"created_at"`
	ExpiresAt stamp            `json:"expires_at" doc:"when it ends in any case; without use it ends earlier"`
	Token     string           `json:"token,omitempty" doc:"send it as Authorization: Bearer TOKEN; absent where a cookie holds it"`
}

func viewSession(s tenant.Session) sessionView {
	return sessionView{ID: s.ID, UserID: s.User, TenantID: s.Tenant, CreatedAt: at(s.CreatedAt), ExpiresAt: at(s.ExpiresAt)}
}

type sessionOutput struct {
	SetCookie string `header:"Set-Cookie" doc:"the session of a browser"`
	Body      sessionView
}

// begun encodes a session that has begun. Its token is in a cookie or in the body, not in both.
func begun(who caller, session tenant.Session, token secret.Secret, cookie bool) *sessionOutput {
	out := &sessionOutput{Body: viewSession(session)}
	if cookie {
		out.SetCookie = setCookie(who, token.Reveal(), session.ExpiresAt)
	} else {
		out.Body.Token = token.Reveal()
	}
	return out
}

type loginBody struct {
	Login    string    `json:"login"`
	Password string    `json:"password"`
	TenantID tenant.ID `json:"tenant_id,omitempty" doc:"tenant to work in; absent: the one that the user has been a member of for longest"`
	Cookie   bool      `json:"cookie,omitempty" doc:"for browsers: set the cookie berth_session, and return no token"`
}

func (s *server) logIn(ctx context.Context, in *struct{ Body loginBody }) (*sessionOutput, error) {
	who, b := callerOf(ctx), in.Body
	if b.Cookie && who.foreign { // or a page could have its visitor work in an account of its own
		return nil, s.fail(errForeignPage)
	}
	session, token, err := s.Accounts.LogIn(ctx, who.principal, tenant.LogInRequest{Login: b.Login, Password: b.Password, Tenant: b.TenantID})
	if err != nil {
		p := problemOf(err)
		if p.Status == http.StatusUnauthorized {
			p.challenge = askForKey
		}
		return nil, p
	}
	return begun(who, session, token, b.Cookie), nil
}

type endedOutput struct {
	SetCookie string `header:"Set-Cookie" doc:"takes the session from a browser"`
}

// loggedOut answers that sessions have ended.
func (s *server) loggedOut(ctx context.Context, err error) (*endedOutput, error) {
	if err != nil {
		return nil, s.fail(err)
	}
	out := &endedOutput{}
	if who := callerOf(ctx); who.cookie {
		out.SetCookie = setCookie(who, "", time.Time{})
	}
	return out, nil
}

func (s *server) logOut(ctx context.Context, _ *struct{}) (*endedOutput, error) {
	return s.loggedOut(ctx, s.Accounts.LogOut(ctx, principalOf(ctx)))
}

func (s *server) logOutEverywhere(ctx context.Context, _ *struct{}) (*endedOutput, error) {
	return s.loggedOut(ctx, s.Accounts.LogOutEverywhere(ctx, principalOf(ctx)))
}

func (s *server) switchTenant(ctx context.Context, in *struct {
	Body struct {
		TenantID tenant.ID `json:"tenant_id" doc:"tenant to work in"`
	}
},
) (*body[sessionView], error) {
	session, err := s.Accounts.SwitchTenant(ctx, principalOf(ctx), in.Body.TenantID)
	if err != nil {
		return nil, s.fail(err)
	}
	return &body[sessionView]{viewSession(session)}, nil
}

func (s *server) passwordRoutes(h huma.API) {
	op := operations("sessions", basePath)
	change := op("change-password", http.MethodPost, "/me/password", "Change the password: all sessions end, and a new one begins", tenant.Oneself, 200, 409, 429)
	change.Description = "The answer has the token of the new session, or its cookie where the request came with one."
	huma.Register(h, change, s.changePassword)
	reset := op("create-password-reset", http.MethodPost, "/password-resets", "Create a token to set a user's password with; it is returned only here", tenant.Manage, 201, 404, 409, 410)
	reset.Description = "Operators may for any user; owners for members whose account their tenant made and no other one opens."
	huma.Register(h, reset, s.createReset)
	huma.Register(h, op("use-password-reset", http.MethodPost, "/password-resets/use", "Set a password with a token: all sessions of the user end", tenant.Anybody, 204, 409), s.useReset)
}

func (s *server) changePassword(ctx context.Context, in *struct {
	Body struct {
		Old string `json:"old"`
		New string `json:"new" doc:"12 characters to 1000 bytes"`
	}
},
) (*sessionOutput, error) {
	who := callerOf(ctx)
	session, token, err := s.Accounts.ChangePassword(ctx, who.principal, in.Body.Old, in.Body.New)
	if err != nil {
		return nil, s.fail(err)
	}
	return begun(who, session, token, who.cookie), nil
}

type resetBody struct {
	UserID tenant.UserID `json:"user_id,omitempty"`
	Login  string        `json:"login,omitempty" doc:"instead of user_id"`
}

type resetView struct {
	UserID    tenant.UserID `json:"user_id"`
	Token     string        `json:"token" doc:"lets whoever has it set the password, once"`
	ExpiresAt stamp         `json:"expires_at"`
}

type resetOutput struct {
	Replayed string `header:"Idempotency-Replayed" doc:"true if an earlier request with this Idempotency-Key created it; the response has that token"`
	Body     resetView
}

func (s *server) createReset(ctx context.Context, in *struct {
	KeyInput
	Body resetBody
},
) (*resetOutput, error) {
	idem, done, err := s.keyedBody(ctx, in.IdempotencyKey, "POST /password-resets", in.Body)
	if err != nil {
		return nil, err
	}
	defer done()
	reset, token, again, err := s.Accounts.MakeReset(ctx, principalOf(ctx), tenant.ResetRequest{User: in.Body.UserID, Login: in.Body.Login}, idem)
	if err != nil {
		return nil, s.fail(err)
	}
	return &resetOutput{Replayed: replayed(again), Body: resetView{UserID: reset.User, Token: token.Reveal(), ExpiresAt: at(reset.ExpiresAt)}}, nil
}

func (s *server) useReset(ctx context.Context, in *struct {
	Body struct {
		Token    string `json:"token"`
		Password string `json:"password" doc:"12 characters to 1000 bytes"`
	}
},
) (*struct{}, error) {
	if err := s.Accounts.UseReset(ctx, principalOf(ctx), in.Body.Token, in.Body.Password); err != nil {
		return nil, s.fail(err)
	}
	return nil, nil
}
