package main

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	userDoc    = `{"id":"usr_1","login":"alice","name":"Käse","operator":false,"disabled":%t,"created_at":"2026-11-05T11:57:00.000Z"}`
	memberDoc  = `{"user_id":"usr_1","tenant_id":"ten_1","role":"viewer","login":"alice","disabled":false,"created_at":"2026-11-05T11:57:00.000Z"}`
	invitedDoc = `{"id":"inv_1","tenant_id":"ten_1","role":"member","created_by":"user bob","created_at":"2026-11-05T11:57:00.000Z","expires_at":"2026-11-12T11:57:00.000Z"%s}`
	sessionDoc = `{"id":"ses_1","user_id":"usr_1","tenant_id":"ten_1","created_at":"2026-11-05T11:57:00.000Z","expires_at":"2026-12-05T11:57:00.000Z","token":"%s"}`
)

func fakeWithUsers() *fakeBerth {
	f := newFake()
	user := fmt.Sprintf(userDoc, false)
	f.routes["GET /me"] = []string{`200 {"name":"user alice","tenant_id":"ten_1","role":"owner","operator":false,"user_id":"usr_1","tenants":[{"tenant_id":"ten_1","name":"one","role":"owner"}]}`}
	f.routes["GET /users"] = []string{`200 {"items":[` + user + `]}`}
	f.routes["POST /users"] = []string{"201 " + user}
	f.routes["PATCH /users/usr_1"] = []string{"200 " + fmt.Sprintf(userDoc, true)}
	f.routes["POST /password-resets"] = []string{`201 {"user_id":"usr_1","token":"berth_reset_1","expires_at":"2026-11-06T12:00:00.000Z"}`}
	f.routes["POST /password-resets/use"] = []string{"204 "}
	f.routes["GET /tenants/ten_1/members"] = []string{`200 {"items":[` + memberDoc + `]}`}
	f.routes["POST /tenants/ten_1/members"] = []string{"201 " + memberDoc}
	f.routes["PATCH /tenants/ten_1/members/usr_1"] = []string{"200 " + memberDoc}
	f.routes["DELETE /tenants/ten_1/members/usr_1"] = []string{"204 "}
	f.routes["GET /tenants/ten_1/invitations"] = []string{`200 {"items":[` + fmt.Sprintf(invitedDoc, "") + `]}`}
	f.routes["POST /tenants/ten_1/invitations"] = []string{"201 " + fmt.Sprintf(invitedDoc, `,"token":"berth_invitation_1"`)}
	f.routes["DELETE /tenants/ten_1/invitations/inv_1"] = []string{"204 "}
	f.routes["POST /invitations/use"] = []string{"201 " + memberDoc}
	f.routes["POST /sessions"] = []string{"201 " + fmt.Sprintf(sessionDoc, "token-1")}
	f.routes["DELETE /sessions"] = []string{"204 "}
	f.routes["DELETE /sessions/current"] = []string{"204 "}
	f.routes["POST /me/password"] = []string{"200 " + fmt.Sprintf(sessionDoc, "token-2")}
	return f
}

func TestUserVerbs(t *testing.T) {
	const resetText = "The token to set the password with (shown only once, until 2026-11-06T12:00:00Z): berth_reset_1\nThe user runs: berth password --reset\n"
	me := "GET /me"
	for line, want := range map[string][]string{ // what is printed, and what is asked for
		"whoami":               {"Name:       user alice\nTenant:     ten_1\nRole:       owner\nUser:       usr_1\nMember of:  ten_1 (one), owner\n", me},
		"users ls":             {"USER   LOGIN  NAME  OPERATOR  STATE   AGE\nusr_1  alice  Käse  no        active  3m\n", "GET /users?limit=100"},
		"users add alice":      {"Added alice (usr_1).\n" + resetText, `POST /users {"login":"alice"}`, `POST /password-resets {"user_id":"usr_1"}`},
		"users disable Alice":  {"alice is disabled.\n", "GET /users?limit=200", `PATCH /users/usr_1 {"disabled":true}`},
		"users enable usr_1":   {"alice is disabled.\n", `PATCH /users/usr_1 {"disabled":false}`},
		"users reset alice":    {resetText, `POST /password-resets {"login":"alice"}`},
		"users reset usr_1":    {resetText, `POST /password-resets {"user_id":"usr_1"}`},
		"members ls":           {"USER   LOGIN  NAME  ROLE    STATE   SINCE\nusr_1  alice  -     viewer  active  3m\n", me, "GET /tenants/ten_1/members?limit=100"},
		"members add usr_1":    {"alice is a member of ten_1: viewer.\n", me, `POST /tenants/ten_1/members {"role":"member","user_id":"usr_1"}`},
		"members rm alice":     {"Removed alice from ten_1.\n", me, "GET /tenants/ten_1/members?limit=200", "DELETE /tenants/ten_1/members/usr_1"},
		"invitations rm inv_1": {"Withdrew inv_1.\n", me, "DELETE /tenants/ten_1/invitations/inv_1"},
		"join":                 {"alice is a member of ten_1: viewer.\n", `POST /invitations/use {"token":"first line"}`},
		"signup --user alice":  {"Made the account alice. Log in: berth login --user alice\n", `POST /users {"login":"alice","password":"first line"}`},
		"password --reset":     {"The password is set. Log in: berth login\n", `POST /password-resets/use {"password":"second line ","token":"first line"}`},
		"logout --everywhere":  {"Logged out.\n", "DELETE /sessions"},
		"members add bob --role owner --tenant ten_1": {"alice is a member of ten_1: viewer.\n", `POST /tenants/ten_1/members {"login":"bob","role":"owner"}`},
		"members role alice viewer":                   {"alice is a member of ten_1: viewer.\n", me, "GET /tenants/ten_1/members?limit=200", `PATCH /tenants/ten_1/members/usr_1 {"role":"viewer"}`},
		"users add alice --password --member-of ten_1 --role owner --name Käse": {
			"Added alice (usr_1).\n", `POST /users {"login":"alice","password":"first line","name":"Käse","tenant_id":"ten_1","role":"owner"}`,
		},
		"invite --role member --tenant ten_1": {
			"Made inv_1: member of tenant ten_1, until 2026-11-12T11:57:00Z.\nThe token (shown only once): berth_invitation_1\nWhoever gets it runs: berth join, or without an account: berth signup --invited\n",
			`POST /tenants/ten_1/invitations {"role":"member"}`,
		},
		"invitations ls --tenant ten_1": {
			"INVITATION  ROLE    BY        AGE  EXPIRES\ninv_1       member  user bob  3m   2026-11-12T11:57:00Z\n", "GET /tenants/ten_1/invitations?limit=100",
		},
		"signup --user alice --invited": {
			"Made the account alice. Log in: berth login --user alice\n", `POST /users {"login":"alice","password":"second line ","invitation":"first line"}`,
		},
		"password": {
			"The password is changed. The token of the new session (shown only once): token-2\n", `POST /me/password {"new":"second line ","old":"first line"}`,
		},
	} {
		f := fakeWithUsers()
		got := berth(t.Context(), t, f, map[string]string{"stdin": "first line\r\nsecond line \nthird"}, nil, strings.Fields(line)...)
		if got.code != 0 || got.errOut != "" || got.out != want[0] {
			t.Errorf("%s: exit %d, stderr %q\n%s\nwant:\n%s", line, got.code, got.errOut, got.out, want[0])
		}
		if sent := f.sent(); !slices.Equal(sent, want[1:]) {
			t.Errorf("%s: sent %q", line, sent)
		}
	}
	for _, line := range []string{"login", "signup", "users add", "members role x", "context use none", "context rm none", "members ls --limit 0", "whoami --context none"} {
		if got := berth(t.Context(), t, fakeWithUsers(), nil, nil, strings.Fields(line)...); got.code != exitUsage {
			t.Errorf("%s: exit %d %s", line, got.code, got.errOut)
		}
	}
	if got := berth(t.Context(), t, fakeWithUsers(), nil, nil, "login", "--user", "alice"); got.code != exitFailed || !strings.Contains(got.errOut, "read the password") {
		t.Errorf("no password: %d %s", got.code, got.errOut)
	}
}

// TestContexts: a session is kept by its server, and sent to no other one; flags and the
// environment go before it.
func TestContexts(t *testing.T) {
	f := fakeWithUsers()
	srv := httptest.NewServer(f)
	defer srv.Close()
	other := fakeWithUsers()
	elsewhere := httptest.NewServer(other)
	defer elsewhere.Close()
	path := filepath.Join(t.TempDir(), "berth", "config.json")
	env := map[string]string{"BERTH_CONFIG": path, "BERTH_API_KEY": "", "BERTH_URL": "", "BERTH_DATA_DIR": t.TempDir(), "stdin": "pass word\nfresh word\n"}
	run := func(line string, more ...string) result {
		t.Helper()
		all := map[string]string{}
		for k, v := range env {
			all[k] = v
		}
		for i := 0; i+1 < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return berth(t.Context(), t, f, all, nil, strings.Fields(line)...)
	}
	host := strings.TrimPrefix(srv.URL, "http://")
	got := run("login --user alice --url " + srv.URL)
	if got.code != 0 || got.out != "Logged in as alice, in tenant ten_1. The context is alice@"+host+".\n" {
		t.Fatalf("%+v", got)
	}
	if sent := f.sent(); !slices.Equal(sent, []string{`POST /sessions {"login":"alice","password":"pass word"}`}) {
		t.Errorf("%q", sent)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	f.key = "token-1"
	if got := run("whoami"); got.code != 0 || !strings.Contains(got.out, "user alice") {
		t.Errorf("%+v", got)
	}
	for _, more := range [][]string{{"BERTH_API_KEY", "brth_key"}, {"BERTH_URL", elsewhere.URL}} {
		if got := run("whoami", more...); got.code == 0 || !strings.Contains(got.errOut, "BERTH_API_KEY") {
			t.Errorf("%v: %+v", more, got)
		}
	}
	if got := run("whoami --url " + elsewhere.URL); got.code == 0 {
		t.Errorf("%+v", got)
	}
	if got := run("context use alice@" + host + " --tenant ten_9"); got.code != 0 {
		t.Errorf("%+v", got)
	}
	for line, want := range map[string]string{"whoami": "ten_9", "whoami --tenant ten_8": "ten_8"} {
		run(line)
		if about := f.tenants[len(f.tenants)-1]; about != want {
			t.Errorf("%s: in %q", line, about)
		}
	}
	if got := run("password"); got.code != 0 || strings.Contains(got.out, "token") {
		t.Errorf("%+v", got)
	}
	f.key = "token-2"
	if got := run("whoami"); got.code != 0 {
		t.Errorf("%+v", got)
	}
	got = run("context ls")
	if got.code != 0 || !strings.Contains(got.out, "*  alice@"+host) || !strings.Contains(got.out, "ten_9") || strings.Contains(got.out, "token-2") {
		t.Errorf("%+v", got)
	}
	if got := run("context ls -o json"); strings.Contains(got.out, "token-2") || !strings.Contains(got.out, host) {
		t.Errorf("%+v", got)
	}
	if got := run("logout"); got.code != 0 {
		t.Errorf("%+v", got)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), "token-") || !strings.Contains(string(text), host) {
		t.Errorf("%s, %v", text, err)
	}
	if got := run("context rm alice@" + host); got.code != 0 {
		t.Errorf("%+v", got)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := run("whoami"); got.code != exitFailed || !strings.Contains(got.errOut, "chmod 600") {
		t.Errorf("%+v", got)
	}
	if len(other.tenants) != 2 || slices.ContainsFunc(other.sent(), func(s string) bool { return strings.Contains(s, "token") }) {
		t.Errorf("%q", other.sent())
	}
}
