package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/api"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

const mePath = "/api/v1/me"

// cookie returns the cookie that an answer sets, as a browser sends it back.
func (a answer) cookie() string {
	r := http.Response{Header: a.header}
	for _, c := range r.Cookies() {
		if c.Name == "berth_session" {
			return c.Name + "=" + c.Value
		}
	}
	return ""
}

// browser sends a request as a browser does from a page of the site.
func (b *bench) browser(cookie, method, path, body string, headers ...string) answer {
	b.Helper()
	return b.anon(method, path, body, append([]string{"Cookie", cookie, "Sec-Fetch-Site", "same-origin"}, headers...)...)
}

func (b *bench) secretly(text string) { // noSecrets looks for it in the log and in answers
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys = append(b.keys, strings.TrimPrefix(text, "berth_session="))
}

// TestLogIn: a user works in one tenant, switches, and names another one with the header.
func TestLogIn(t *testing.T) {
	b := newBench(t)
	one, two := b.tenant("one"), b.tenant("two")
	alice := b.call("POST", "/api/v1/users", fmt.Sprintf(`{"login":" Alice@Example.com ","name":"Alice","password":%q,"tenant_id":%q,"role":"owner"}`, goodPassword, one)).is(201, "")
	if alice.text("login") != "alice@example.com" || alice.text("name") != "Alice" || strings.Contains(alice.body, "password") {
		t.Errorf("%s", alice.body)
	}
	b.call("POST", "/api/v1/tenants/"+two+"/members", `{"login":"ALICE@example.com","role":"viewer"}`).is(201, "")
	s := b.login("alice@EXAMPLE.com", goodPassword).is(201, "")
	token := s.text("token")
	if s.text("tenant_id") != one || s.text("user_id") != alice.text("id") || s.cookie() != "" || !tenant.IsSession(token) {
		t.Errorf("%s", s.body)
	}
	me := func(want, role string, headers ...string) answer {
		t.Helper()
		a := b.as(token, "GET", mePath, "", headers...).is(200, "")
		if a.text("tenant_id") != want || a.text("role") != role || a.text("name") != "user alice@example.com" || a.text("user_id") != alice.text("id") {
			t.Errorf("%s", a.body)
		}
		return a
	}
	if a := me(one, "owner"); !strings.Contains(a.body, `"name":"two","role":"viewer"`) || a.text("display_name") != "Alice" {
		t.Errorf("%s", a.body)
	}
	me(two, "viewer", "Berth-Tenant", two)
	b.as(token, "POST", mysqlPath, "{}", "Berth-Tenant", two).is(403, "forbidden")
	b.as(token, "GET", "/api/v1/jobs", "", "Berth-Tenant", string(tenant.Default)).is(404, "not_found")
	b.as(token, "PATCH", "/api/v1/sessions/current", fmt.Sprintf(`{"tenant_id":%q}`, two)).is(200, "")
	me(two, "viewer")
	b.as(token, "PATCH", "/api/v1/sessions/current", `{"tenant_id":"default"}`).is(404, "not_found")
	b.as(token, "PATCH", "/api/v1/sessions/current", `{"tenant_id":""}`).is(422, "invalid").field("tenant_id")
	b.login("alice@example.com", goodPassword, `,"tenant_id":"default"`).is(404, "not_found")
	if a := b.as(token, "GET", "/api/v1/tenants", "").is(200, ""); strings.Count(a.body, `"id"`) != 2 {
		t.Errorf("%s", a.body)
	}
	if a := b.as(token, "GET", "/api/v1/tenants?limit=1", "").is(200, ""); strings.Count(a.body, `"id"`) != 1 || a.text("next_cursor") == "" {
		t.Errorf("%s", a.body)
	}
	b.as(token, "GET", "/api/v1/tenants/"+one, "").is(200, "")
}

// TestSessionsEnd: with a log-out nothing opens any more, in any process; everywhere, nowhere.
func TestSessionsEnd(t *testing.T) {
	b := newBench(t)
	_, first := b.user(b.tenant("one"), "owner")
	second := b.login("user-1", goodPassword).is(201, "").text("token")
	stolen := b.login("user-1", goodPassword, `,"cookie":true`).is(201, "").cookie()
	b.secretly(stolen)
	other := b.process()
	for _, bench := range []*bench{b, other} {
		bench.browser(stolen, "GET", mePath, "").is(200, "")
		bench.as(first, "GET", mePath, "").is(200, "")
	}
	out := b.browser(stolen, "DELETE", "/api/v1/sessions/current", "").is(204, "")
	if set := out.header.Get("Set-Cookie"); !strings.HasPrefix(set, "berth_session=; Path=/; Max-Age=0") {
		t.Errorf("%q", set)
	}
	for _, bench := range []*bench{b, other} {
		bench.browser(stolen, "GET", mePath, "").is(401, "unauthorized")
		bench.as(strings.TrimPrefix(stolen, "berth_session="), "GET", mePath, "").is(401, "unauthorized")
		bench.as(first, "GET", mePath, "").is(200, "")
	}
	b.as(first, "DELETE", "/api/v1/sessions", "").is(204, "")
	for _, bench := range []*bench{b, other} {
		bench.as(first, "GET", mePath, "").is(401, "unauthorized")
		bench.as(second, "GET", mePath, "").is(401, "unauthorized")
	}
	b.call("DELETE", "/api/v1/sessions/current", "").is(403, "forbidden") // a key is no session
}

// TestCookie: what a browser gets cannot be read by pages, goes to the site only, and is the
// only place of the token. A cookie that was there before is never taken over.
func TestCookie(t *testing.T) {
	b := newBench(t)
	b.user(b.tenant("one"), "member")
	body := fmt.Sprintf(`{"login":"user-1","password":%q,"cookie":true}`, goodPassword)
	in := b.browser("", "POST", "/api/v1/sessions", body).is(201, "")
	b.secretly(in.cookie())
	set := in.header.Get("Set-Cookie")
	for _, want := range []string{"; Path=/", "; HttpOnly", "; SameSite=Lax", "; Expires="} {
		if !strings.Contains(set, want) {
			t.Errorf("%q lacks %q", set, want)
		}
	}
	if in.text("token") != "" || strings.Contains(set, "Secure") || strings.Contains(set, "Domain") {
		t.Errorf("%s %q", in.body, set)
	}
	planted := in.cookie()
	again := b.browser(planted, "POST", "/api/v1/sessions", body).is(201, "").cookie()
	b.secretly(again)
	if again == planted || again == "" {
		t.Error("the cookie was taken over")
	}
	made := "berth_session=berth_session_" + strings.Repeat("0", 36)
	if got := b.browser(made, "POST", "/api/v1/sessions", body).is(201, "").cookie(); got == made || got == "" {
		t.Error("a made-up cookie was taken over")
	}
	b.browser(made, "GET", mePath, "").is(401, "unauthorized")

	// A header decides, whatever the cookie says; and a key in the cookie opens nothing.
	if me := b.browser(planted, "GET", mePath, "", "Authorization", "Bearer "+adminKey).is(200, ""); me.text("name") != "the admin key" {
		t.Errorf("%s", me.body)
	}
	b.browser(planted, "GET", mePath, "", "Authorization", "Bearer wrong").is(401, "unauthorized")
	b.browser(planted, "GET", mePath, "", "Authorization", "Basic x").is(401, "unauthorized")
	b.browser("berth_session="+adminKey, "GET", mePath, "").is(401, "unauthorized")
	_, key := b.key(string(tenant.Default), "owner")
	b.browser("berth_session="+key, "GET", mePath, "").is(401, "unauthorized")
}

// TestForeignPages: a page of another site does nothing with the browser's session, and logs
// nobody in. Programs, which send no origin, and tokens are not concerned.
func TestForeignPages(t *testing.T) {
	b := newBench(t, func(c *api.Config) { c.CORSOrigins = []string{"https://friend.example"} })
	_, token := b.user(b.tenant("one"), "member")
	in := fmt.Sprintf(`{"login":"user-1","password":%q,"cookie":true}`, goodPassword)
	cookie := b.anon("POST", "/api/v1/sessions", in).is(201, "").cookie()
	b.secretly(cookie)
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
		{"Origin", "https://friend.example"}, {"Sec-Fetch-Site", "cross-site", "Origin", "https://friend.example"}, {"Origin", "http://example.com:81"},
	} {
		with := append([]string{"Cookie", cookie}, headers...)
		for _, route := range []string{"POST " + mysqlPath, "DELETE /api/v1/sessions/current", "DELETE /api/v1/sessions", "PATCH /api/v1/sessions/current", "POST /api/v1/me/password"} {
			method, path, _ := strings.Cut(route, " ")
			b.anon(method, path, "{}", with...).is(403, "forbidden")
		}
		b.anon("POST", "/api/v1/sessions", in, headers...).is(403, "forbidden")
		b.anon("POST", "/api/v1/sessions", in, with...).is(403, "forbidden")
		friend := strings.Contains(strings.Join(headers, " "), "friend")
		if a := b.anon("POST", "/api/v1/sessions", strings.Replace(in, `,"cookie":true`, "", 1), headers...); (a.status == 201) != friend {
			t.Errorf("%v: %d", headers, a.status)
		}
		b.as(token, "POST", mysqlPath, "{}", headers...).is(202, "")
	}
	for _, headers := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Origin", "http://example.com"}, {}} {
		b.anon("POST", mysqlPath, "{}", append([]string{"Cookie", cookie}, headers...)...).is(202, "")
	}
	// The cookie of an operator makes no accounts for a foreign page, not even for a friend.
	b.user("default", "operator")
	op := b.anon("POST", "/api/v1/sessions", strings.Replace(in, "user-1", "user-2", 1)).is(201, "").cookie()
	b.secretly(op)
	b.anon("POST", "/api/v1/users", `{"login":"mallory","password":"0123456789ab","operator":true}`, "Cookie", op, "Origin", "https://friend.example").is(403, "forbidden")
	b.browser(op, "POST", "/api/v1/users", `{"login":"mallory","password":"0123456789ab","operator":true}`).is(201, "")
}

// TestNobodyLearnsWhoIsThere: the answer to a wrong log-in does not tell why.
func TestNobodyLearnsWhoIsThere(t *testing.T) {
	b := newBench(t)
	b.user(b.tenant("one"), "member")
	off, _ := b.user(b.tenant("two"), "member")
	b.call("POST", "/api/v1/users", `{"login":"no-password"}`).is(201, "")
	b.call("PATCH", "/api/v1/users/"+off, `{"disabled":true}`).is(200, "")
	want := b.login("user-1", "wrong password").is(401, "unauthorized")
	for login, password := range map[string]string{"nobody": goodPassword, "user-2": goodPassword, "no-password": "", "no way!": goodPassword, "": "", "ünal": "x", "user-1 or 1=1": "x", "user-1": ""} {
		got := b.login(login, password)
		if got.status != want.status || got.unnamed() != want.unnamed() || got.header.Get("WWW-Authenticate") != want.header.Get("WWW-Authenticate") {
			t.Errorf("%q: %d %s\nwant %d %s", login, got.status, got.body, want.status, want.body)
		}
	}
	for _, login := range []string{"user-1", "nobody", "user-2"} {
		b.login(login, strings.Repeat("x", 1001)).is(422, "invalid").field("password", "1000 bytes")
	}
	if want.header.Get("WWW-Authenticate") == "" || want.header.Get("Set-Cookie") != "" {
		t.Errorf("%v", want.header)
	}
}

// TestLogInIsThrottled: by account and address, in all processes, and not for the right user.
func TestLogInIsThrottled(t *testing.T) {
	b := newBench(t)
	b.user(b.tenant("one"), "member")
	other := b.process()
	for i := range 5 {
		[]*bench{b, other}[i%2].login("user-1", "wrong password").is(401, "unauthorized")
	}
	for _, bench := range []*bench{b, other} {
		if a := bench.login("USER-1", goodPassword).is(429, "too_many_requests"); a.header.Get("Retry-After") != "1" {
			t.Errorf("%v", a.header)
		}
	}
	for range 5 {
		b.login("nobody", "wrong password").is(401, "unauthorized")
	}
	b.login("nobody", "wrong password").is(429, "too_many_requests") // nobody learns who is there
}

// TestPasswordChange: all sessions end, also those of whoever knows the old password.
func TestPasswordChange(t *testing.T) {
	b := newBench(t)
	one := b.tenant("one")
	_, mine := b.user(one, "member")
	theirs := b.login("user-1", goodPassword).is(201, "").text("token")
	change := func(token, old, fresh string) answer {
		return b.as(token, "POST", "/api/v1/me/password", fmt.Sprintf(`{"old":%q,"new":%q}`, old, fresh))
	}
	change(mine, "wrong password", "another password").is(422, "invalid").field("old")
	for _, bad := range []string{"", "short", "ünterrätsel", strings.Repeat("x", 1001)} {
		change(mine, goodPassword, bad).is(422, "invalid").field("new")
	}
	b.call("POST", "/api/v1/users", `{"login":"ann@example.com","password":"Ann@Example.COM"}`).is(422, "invalid").field("password", "login name")
	fresh := change(mine, goodPassword, "another password").is(200, "").text("token")
	for token, want := range map[string]int{mine: 401, theirs: 401, fresh: 200} {
		b.as(token, "GET", mePath, "").is(want, "")
	}
	b.login("user-1", goodPassword).is(401, "unauthorized")
	cookie := b.login("user-1", "another password", `,"cookie":true`).is(201, "").cookie()
	b.secretly(cookie)
	a := b.browser(cookie, "POST", "/api/v1/me/password", fmt.Sprintf(`{"old":"another password","new":%q}`, goodPassword)).is(200, "")
	b.secretly(a.cookie())
	if a.text("token") != "" || a.cookie() == "" || a.cookie() == cookie {
		t.Errorf("%s", a.body)
	}
	b.browser(cookie, "GET", mePath, "").is(401, "unauthorized")
	b.browser(a.cookie(), "GET", mePath, "").is(200, "")
	b.call("POST", "/api/v1/me/password", `{"old":"x","new":"y"}`).is(403, "forbidden")
}

// TestDisabledAndRemoved: who is disabled, removed or of another role is so with the next
// request, and what goes on ends.
func TestDisabledAndRemoved(t *testing.T) {
	b := newBench(t)
	one := b.tenant("one")
	_, owner := b.key(one, "owner")
	which, token := b.user(one, "viewer")
	member := "/api/v1/tenants/" + one + "/members/" + which
	pending := b.as(owner, "POST", mysqlPath, "{}").is(202, "")
	url := b.serve()
	follow := func(word string) (ended func()) {
		stream, _ := b.stream(url+eventsPath+"?type=test.o", "Authorization", "Bearer "+token)
		conn := b.dial(url, "", "Authorization", "Bearer "+token)
		waited := make(chan answer, 1)
		go func() { waited <- b.as(token, "GET", "/api/v1/jobs/"+pending.text("job.id")+"?wait=50s", "") }()
		b.say(tenant.ID(one), word)
		for said := ""; said != word; {
			e, more := stream.next(nil)
			if !more {
				t.Fatal("the stream has ended")
			}
			said = e.Message
		}
		return func() { t.Helper(); b.allEnd(stream, conn, waited) }
	}
	b.as(token, "POST", mysqlPath, "{}").is(403, "forbidden")
	b.as(owner, "PATCH", member, `{"role":"member"}`).is(200, "")
	b.as(token, "POST", mysqlPath, "{}").is(202, "")
	begun := time.Now()
	ended := follow("one")
	b.as(owner, "DELETE", member, "").is(204, "")
	b.as(token, "GET", "/api/v1/jobs", "").is(403, "forbidden")
	b.as(token, "GET", "/api/v1/tenants/"+one, "").is(403, "forbidden")
	b.as(token, "GET", mePath, "").is(200, "")
	ended()
	if took := time.Since(begun); took > soon/2 {
		t.Errorf("it took %s", took)
	}
	b.as(owner, "POST", "/api/v1/tenants/"+one+"/members", fmt.Sprintf(`{"user_id":%q,"role":"viewer"}`, which)).is(201, "")
	b.as(token, "GET", "/api/v1/jobs", "").is(200, "")
	ended = follow("only")
	b.call("PATCH", "/api/v1/users/"+which, `{"disabled":true}`).is(200, "")
	b.as(token, "GET", mePath, "").is(401, "unauthorized")
	ended()
	b.call("PATCH", "/api/v1/users/"+which, `{"disabled":false}`).is(200, "")
	b.as(token, "GET", mePath, "").is(401, "unauthorized") // not even then
	b.login("user-1", goodPassword).is(201, "")
}

// TestSignUp: who may make an account, and what they get.
func TestSignUp(t *testing.T) {
	for mode, want := range map[tenant.SignUp][2]int{tenant.SignUpOff: {403, 403}, tenant.SignUpInvitation: {403, 201}, tenant.SignUpOpen: {201, 201}, "": {403, 403}} {
		b := newBench(t).process(func(c *tenant.AccountConfig) { c.SignUp = mode })
		one := b.tenant("one")
		_, owner := b.key(one, "owner")
		inv := b.as(owner, "POST", "/api/v1/tenants/"+one+"/invitations", `{"role":"member"}`).is(201, "").text("token")
		sign := func(login, more string) answer {
			return b.anon("POST", "/api/v1/users", fmt.Sprintf(`{"login":%q,"password":%q%s}`, login, goodPassword, more))
		}
		sign("alone", "").is(want[0], "")
		sign("invited", fmt.Sprintf(`,"invitation":%q`, inv)).is(want[1], "")
		for _, more := range []string{`,"operator":true`, `,"tenant_id":"default","role":"owner"`, `,"role":"owner"`} {
			sign("mallory", more).is(403, "forbidden")
		}
		if mode == tenant.SignUpOpen {
			me := b.as(b.login("alone", goodPassword).is(201, "").text("token"), "GET", mePath, "").is(200, "")
			if me.text("role") != "owner" || me.json["operator"] != false || !strings.Contains(me.body, `"name":"alone"`) {
				t.Errorf("%s", me.body)
			}
			sign("ALONE", "").is(422, "invalid").field("login", "taken")
			b.tenant("held")
			sign("held", "").is(201, "") // a tenant has the name
			for _, login := range []string{"", "ünal", "a b", "a@b@c", "-a", strings.Repeat("x", 101), "K\u212Aelvin"} {
				sign(login, "").is(422, "invalid").field("login")
			}
		}
		if want[1] == 201 {
			me := b.as(b.login("invited", goodPassword).is(201, "").text("token"), "GET", mePath, "").is(200, "")
			if me.text("role") != "member" || me.text("tenant_id") != one {
				t.Errorf("%s", me.body)
			}
			sign("late", fmt.Sprintf(`,"invitation":%q`, inv)).is(422, "invalid").field("invitation")
		}
		b.anon("POST", "/api/v1/users", `{"login":"x","password":"0123456789ab"}`, "Authorization", "Bearer wrong").is(401, "unauthorized")
	}
}

// TestInvitationIsForOne: of many who use an invitation at once, one becomes a member.
func TestInvitationIsForOne(t *testing.T) {
	b := newBench(t)
	one := b.tenant("one")
	_, owner := b.key(one, "owner")
	made := b.as(owner, "POST", "/api/v1/tenants/"+one+"/invitations", `{"role":"owner"}`, "Idempotency-Key", "k").is(201, "")
	if again := b.as(owner, "POST", "/api/v1/tenants/"+one+"/invitations", `{"role":"owner"}`, "Idempotency-Key", "k").is(201, ""); again.text("token") != made.text("token") {
		t.Error("another token")
	}
	use := fmt.Sprintf(`{"token":%q}`, made.text("token"))
	var tokens []string
	for range 4 {
		_, token := b.user("", "")
		tokens = append(tokens, token)
	}
	statuses := make([]int, len(tokens))
	testenv.Together(len(tokens), func(i int) error {
		statuses[i] = b.as(tokens[i], "POST", "/api/v1/invitations/use", use).status
		return nil
	})
	won := 0
	for i, status := range statuses {
		me := b.as(tokens[i], "GET", mePath, "").is(200, "")
		if status == 201 {
			won++
		}
		if strings.Contains(me.body, one) != (status == 201) {
			t.Errorf("%d: %s", status, me.body)
		}
	}
	if won != 1 {
		t.Errorf("%v", statuses)
	}
	if list := b.as(owner, "GET", "/api/v1/tenants/"+one+"/invitations", "").is(200, ""); strings.Contains(list.body, "inv_") {
		t.Errorf("%s", list.body)
	}
	other := b.as(owner, "POST", "/api/v1/tenants/"+one+"/invitations", `{"role":"viewer"}`).is(201, "")
	for range 2 {
		b.as(owner, "DELETE", "/api/v1/tenants/"+one+"/invitations/"+other.text("id"), "").is(204, "")
	}
	b.as(tokens[0], "POST", "/api/v1/invitations/use", fmt.Sprintf(`{"token":%q}`, other.text("token"))).is(422, "invalid").field("invitation")
	b.as(owner, "DELETE", "/api/v1/tenants/"+one+"/invitations/"+other.text("token"), "").is(404, "not_found")
}
