package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/internal/client"
)

// auditDocs returns a chain of so many entries as the API gives it, newest first.
func auditDocs(t *testing.T, n int, change func(i int, e *client.AuditEntry)) []string {
	t.Helper()
	docs, previous := make([]string, n), ""
	for i := range n {
		e := client.AuditEntry{
			Number: int64(i + 1), ID: fmt.Sprintf("aud_%d", i), CreatedAt: time.UnixMilli(int64(1_700_000_000_007 + i)).UTC(), TenantID: "one", Actor: "user käse <x>",
			Address: "203.0.113.7", RequestID: "r1", Action: "key.create", Subject: "key_1", Result: "done", Detail: "a & b", PreviousHash: previous,
		}
		e.Hash = audit.Link(entryOf(e))
		previous = e.Hash
		if change != nil {
			change(i, &e)
		}
		doc, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		docs[n-1-i] = string(doc)
	}
	return docs
}

func auditServer(docs []string) *fakeBerth {
	return &fakeBerth{routes: map[string][]string{"GET /audit": {`200 {"items":[` + strings.Join(docs, ",") + `]}`}}}
}

// TestAuditVerify: a chain as it was written is praised, with what to note; one that was
// changed is named, and the command fails. From a file it is the same.
func TestAuditVerify(t *testing.T) {
	docs := auditDocs(t, 5, nil)
	var newest client.AuditEntry
	if err := json.Unmarshal([]byte(docs[0]), &newest); err != nil {
		t.Fatal(err)
	}
	note := fmt.Sprintf("5:%s", newest.Hash)
	f := auditServer(docs)
	got := berth(t.Context(), t, f, nil, nil, "audit", "verify", "--noted", note)
	if got.code != 0 || !strings.Contains(got.out, "All 5 entries, numbers 1 to 5, are as they were written") || !strings.Contains(got.out, "--noted "+note) {
		t.Errorf("%+v", got)
	}
	if sent := f.sent(); len(sent) != 1 || !strings.Contains(sent[0], "all=true") {
		t.Errorf("%v", sent)
	}
	file := filepath.Join(t.TempDir(), "log.ndjson")
	for name, c := range map[string]struct {
		docs []string
		want string
	}{
		"changed": {auditDocs(t, 5, func(i int, e *client.AuditEntry) {
			if i == 2 {
				e.Actor = "nobody"
			}
		}), "entry 3 (aud_2) is not as it was written"},
		"removed":        {append(docs[:2:2], docs[3:]...), "entry 3 is missing"},
		"the end is off": {docs[1:], "entry 5, whose hash was noted, is missing"},
	} {
		got := berth(t.Context(), t, auditServer(c.docs), nil, nil, "audit", "verify", "--noted", note)
		if got.code != 1 || !strings.Contains(got.out, c.want) || !strings.Contains(got.errOut, "not as it was written") {
			t.Errorf("%s: %+v", name, got)
		}
		if err := os.WriteFile(file, []byte(strings.Join(c.docs, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		got = berth(t.Context(), t, auditServer(nil), nil, nil, "audit", "verify", "--noted", note, "--file", file, "-o", "json")
		if got.code != 1 || !strings.Contains(got.out, `"intact": false`) || !strings.Contains(got.out, c.want) {
			t.Errorf("%s from a file: %+v", name, got)
		}
	}
	for _, noted := range []string{"5", "x:" + newest.Hash, "5:abc", "0:" + newest.Hash} {
		if got := berth(t.Context(), t, f, nil, nil, "audit", "verify", "--noted", noted); got.code != 2 {
			t.Errorf("%s: %+v", noted, got)
		}
	}
}

// TestAuditList: the filters go to the server, and times may be given as how long ago.
func TestAuditList(t *testing.T) {
	f := auditServer(auditDocs(t, 2, nil))
	got := berth(t.Context(), t, f, nil, nil, "audit", "--all", "--since", "24h", "--action", "key.create", "--user", "usr_1", "--result", "done")
	if got.code != 0 || !strings.Contains(got.out, "203.0.113.7") || !strings.Contains(got.out, "key.create") {
		t.Errorf("%+v", got)
	}
	sent := f.sent()[0]
	for _, want := range []string{"all=true", "since=2026-11-04T12%3A00%3A00Z", "action=key.create", "user_id=usr_1", "result=done"} {
		if !strings.Contains(sent, want) {
			t.Errorf("%s is not in %s", want, sent)
		}
	}
	if got := berth(t.Context(), t, f, nil, nil, "audit", "--since", "yesterday"); got.code != 2 {
		t.Errorf("%+v", got)
	}
}
