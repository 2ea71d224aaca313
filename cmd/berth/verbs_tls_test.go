package main

import (
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestServerByTLS: the verbs speak to nobody whose certificate no known authority vouches for,
// and a context keeps where the authority's certificate is.
func TestServerByTLS(t *testing.T) {
	f := fakeWithUsers()
	srv := httptest.NewUnstartedServer(f)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	dir := t.TempDir()
	ca, config := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "config.json")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(env map[string]string, args ...string) result {
		t.Helper()
		all := map[string]string{"BERTH_URL": srv.URL, "BERTH_CONFIG": config, "stdin": "a secret"}
		for k, v := range env {
			all[k] = v
		}
		return berth(t.Context(), t, newFake(), all, nil, args...)
	}
	if r := run(nil, "whoami"); r.code != exitUnreachable || !strings.Contains(r.errOut, "BERTH_CA_FILE") || len(f.sent()) != 0 {
		t.Errorf("an unknown authority: %+v, asked for %v", r, f.sent())
	}
	if r := run(map[string]string{"BERTH_CA_FILE": ca}, "whoami"); r.code != 0 || !strings.Contains(r.out, "user alice") {
		t.Errorf("by the environment: %+v", r)
	}
	if r := run(nil, "whoami", "--ca-file", ca); r.code != 0 {
		t.Errorf("by a flag: %+v", r)
	}
	for _, file := range []string{filepath.Join(dir, "missing.pem"), config} {
		if r := run(map[string]string{"BERTH_CA_FILE": file}, "whoami"); r.code != exitUsage || !strings.Contains(r.errOut, file) {
			t.Errorf("%s: %+v", file, r)
		}
	}
	if r := run(map[string]string{"BERTH_CA_FILE": ca, "BERTH_API_KEY": ""}, "login", "--user", "alice", "--context", "one"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	f.mu.Lock()
	f.key = "token-1"
	f.mu.Unlock()
	if r := run(map[string]string{"BERTH_URL": "", "BERTH_API_KEY": ""}, "whoami"); r.code != 0 {
		t.Errorf("by the context: %+v", r)
	}
}

// TestServerFailure: of a failure of the server the verbs say by what its log knows it.
func TestServerFailure(t *testing.T) {
	f := newFake()
	f.routes["GET /engines"] = []string{`500 {"code":"internal","detail":"an internal error occurred","status":500,"request_id":"req_1\u001b"}`}
	if r := berth(t.Context(), t, f, nil, nil, "engines"); r.code != exitFailed || !strings.Contains(r.errOut, "request_id req_1") || strings.Contains(r.errOut, "\u001b") {
		t.Errorf("%+v", r)
	}
	f.routes["GET /engines"] = []string{`422 {"code":"invalid","detail":"no","status":422,"request_id":"req_1"}`}
	if r := berth(t.Context(), t, f, nil, nil, "engines"); strings.Contains(r.errOut, "req_1") {
		t.Errorf("%+v", r)
	}
}
