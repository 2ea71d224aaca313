package api_test

import (
	"fmt"
	"strings"

	"github.com/berth-project/berth/internal/tenant"
)

const goodPassword = "correct horse battery"

// user makes a user, a member of the tenant in the role if there is one, and returns the id and
// the token of a session in that tenant.
func (b *bench) user(of, role string) (which, token string) {
	b.Helper()
	b.mu.Lock()
	b.users++
	login := fmt.Sprintf("user-%d", b.users)
	b.mu.Unlock()
	more, where := "", ""
	switch {
	case role == string(tenant.Operator):
		more, where = `,"operator":true`, of
	case of != "":
		more, where = fmt.Sprintf(`,"tenant_id":%q,"role":%q`, of, role), of
	}
	which = b.call("POST", "/api/v1/users", fmt.Sprintf(`{"login":%q,"password":%q%s}`, login, goodPassword, more)).is(201, "").text("id")
	return which, b.login(login, goodPassword, fmt.Sprintf(`,"tenant_id":%q`, where)).is(201, "").text("token")
}

// login sends a log-in.
func (b *bench) login(login, password string, more ...string) answer {
	b.Helper()
	return b.anon("POST", "/api/v1/sessions", fmt.Sprintf(`{"login":%q,"password":%q%s}`, login, password, strings.Join(more, "")))
}

// anon sends a request without a key.
func (b *bench) anon(method, path, body string, headers ...string) answer {
	b.Helper()
	return b.send(method, path, strings.NewReader(body), append([]string{"Content-Type", "application/json"}, headers...)...)
}
