package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestOutputs(t *testing.T) {
	tests := []struct{ line, want string }{
		{"ls", "" +
			"NAME   ENGINE  VERSION  PLAN   STATE    ENDPOINT         AGE  ID\n" +
			"cache  redis   8        small  running  127.0.0.1:20001  3m   ins_1\n"},
		{"get cache", "" +
			"Name:        cache\n" +
			"ID:          ins_1\n" +
			"Engine:      redis 8\n" +
			"State:       running\n" +
			"Endpoint:    127.0.0.1:20001\n" +
			"Plan:        small\n" +
			"Resources:   0.5 cpu, 512 MiB memory, 10 GiB disk\n" +
			"Disk:        1.0 GiB of 10 GiB used (10 %), ok\n" +
			"Parameters:  maxmemory=67108864\n" +
			"Labels:      team=a\n" +
			"Created:     2026-11-05T11:57:00Z (3m ago)\n"},
		{"config ins_1", "" +
			"Host:        127.0.0.1\n" +
			"Port:        20001\n" +
			"Username:    app\n" +
			"Password:    pa55&word\n" +
			"URI:         redis://app:pa55&word@127.0.0.1:20001/0\n" +
			"CLI:         redis-cli -p 20001\n" +
			"Parameters:  maxmemory=67108864\n" +
			"File:        redis.conf\n" +
			"TLS:         possible, port 20002 (--ca, --tls)\n" +
			"TLS URI:     rediss://app:pa55&word@127.0.0.1:20002/0\n"},
		{"config cache --uri --tls", "rediss://app:pa55&word@127.0.0.1:20002/0\n"},
		{"config cache --cli --tls", "redis-cli --tls -p 20002\n"},
		{"config cache --ca", "-----BEGIN CERTIFICATE-----\n"},
		{"config cache --uri", "redis://app:pa55&word@127.0.0.1:20001/0\n"},
		{"config cache --cli", "redis-cli -p 20001\n"},
		{"config cache --file", "maxmemory 67108864\n"},
		{"config cache --env", "REDIS_HOST=127.0.0.1\nREDIS_PORT=20001\n"},
		{"jobs", "" +
			"JOB    KIND             ENGINE  STATE    PROGRESS  AGE  INSTANCE\n" +
			"job_1  instance.create  redis   running  50%       2s   ins_1\n"},
		{"jobs job_1", "" +
			"Job:       job_1\n" +
			"Kind:      instance.create\n" +
			"Instance:  ins_1\n" +
			"Engine:    redis\n" +
			"State:     queued (50%)\n" +
			"Created:   2026-11-05T11:59:58Z (2s ago)\n" +
			"\n" +
			"STEP   STATE    ATTEMPT  TOOK  DETAIL\n" +
			"image  waiting  1        1.5s  -\n" +
			"ready  waiting  2        0.5s  PING\n"},
		{"events --after 3", "" +
			"NUMBER   TIME                  TYPE                    INSTANCE                        MESSAGE\n" +
			"12       2026-11-05T11:59:00Z  instance.running        ins_1                           usable at <b>\n"},
		{"engines", "" +
			"ENGINE  VERSIONS  PLANS   DESCRIPTION\n" +
			"redis   8*, 7     small*  In-memory store\n" +
			"\n* = default. Plans and parameters of an engine: berth engines ENGINE\n"},
		{"engines redis", "" +
			"Redis: In-memory store\n" +
			"\n" +
			"PLAN    RESOURCES                             DESCRIPTION\n" +
			"small*  0.5 cpu, 512 MiB memory, 10 GiB disk  for trying\n" +
			"\n" +
			"PARAMETER    ALLOWED                          DEFAULT  DESCRIPTION\n" +
			"appendfsync  always, everysec, no             -        -\n" +
			"maxclients   integer 1 to 10000               1000     clients\n" +
			"maxmemory    integer 1 to 67108864 or string  -        -\n" +
			"\n* = default\n"},
		{"create redis", "Creating redis cache (ins_1).\nWait for it: berth wait job_1\n"},
		{"create redis --callback-url http://x/", "Creating redis cache (ins_1).\nWait for it: berth wait job_1\n" +
			"Secret that signs the callback (shown only once): whsec_1\n"},
		{"rm cache", "Deleting redis cache. Wait for it: berth wait job_1\n"},
		{"-o table ls redis", "No instances. Create one: berth create redis\n"},
		{"ls redis --state failed", "No instances match.\n"},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			f := newFake()
			f.routes["GET /storage/redis/instances"] = []string{`200 {"items":[]}`}
			args := strings.Fields(tt.line)
			got := berth(t.Context(), t, f, nil, nil, args...)
			if got.code != 0 || got.errOut != "" {
				t.Errorf("exit %d, stderr %q", got.code, got.errOut)
			}
			if got.out != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got.out, tt.want)
			}
		})
	}
}

func TestCreateWaitPlain(t *testing.T) {
	f := newFake()
	got := berth(t.Context(), t, f, nil, nil, "create", "redis", "--name", "cache", "--param", "maxclients=50",
		"--param", "maxmemory=64mb", "--param", "nonsense=1", "--label", "team=a", "--memory", "1g", "--cpu", "2", "--job-timeout", "90s", "--on-failure", "keep", "--wait")
	want := result{
		0,
		"redis cache is running at 127.0.0.1:20001.\nTo connect: berth config cache\n",
		"create redis cache: image done after 1.5s\n" +
			"create redis cache: ready running (attempt 2): PING\n" +
			"create redis cache: ready done after 0.5s (attempt 2): PING\n",
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	const post = `POST /storage/redis/instances {"name":"cache","resources":{"cpu":2,"memory":1073741824},` +
		`"parameters":{"maxclients":50,"maxmemory":"64mb","nonsense":"1"},"labels":{"team":"a"},"timeout":"1m30s","on_failure":"keep"}`
	if sent := f.sent(); !slices.Contains(sent, post) || !slices.Contains(sent, "GET /jobs/job_1?wait=500ms") {
		t.Errorf("sent %q", sent)
	}
}

func TestJSON(t *testing.T) {
	cache := fmt.Sprintf(cacheDoc, "running")
	done := jobIn("succeeded")
	tests := map[string]string{
		"ls":                  `{"items":[` + cache + `]}`,
		"get cache":           cache,
		"config cache":        configDoc,
		"jobs":                `{"items":[` + jobIn("running") + `]}`,
		"wait job_1":          done,
		"events":              eventDoc,
		"engines":             enginesDoc,
		"create redis --wait": `{"instance":` + cache + `,"job":` + done + `,"webhook_secret":"whsec_1"}`,
		"rm cache --wait":     `{"instance":` + cache + `,"job":` + done + `}`,
		"rm cache ins_1 --wait": `{"items":[{"instance":` + cache + `,"job":` + done + `},` +
			`{"instance":` + cache + `,"job":` + done + `}]}`,
	}
	for line, want := range tests {
		t.Run(line, func(t *testing.T) {
			got := berth(t.Context(), t, newFake(), nil, nil, append(strings.Fields(line), "-o", "json")...)
			if got.code != 0 || got.errOut != "" {
				t.Errorf("exit %d, stderr %q", got.code, got.errOut)
			}
			var compact bytes.Buffer
			if err := json.Compact(&compact, []byte(got.out)); err != nil {
				t.Fatalf("%v in %q", err, got.out)
			}
			if compact.String() != want {
				t.Errorf("got  %s\nwant %s", compact.String(), want)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	failed := func(f *fakeBerth) { f.routes["GET /jobs/job_1"] = []string{"200 " + jobIn("failed")} }
	tests := []struct {
		line  string
		setUp func(*fakeBerth)
		code  int
		err   string
	}{
		{"create redis --wait", failed, 1, "berth: create redis cache: job job_1 failed at step \"ready\": the server did not answer\n" +
			"  The failure may be temporary: try again.\n"},
		{"wait job_1 -o json", failed, 1, "berth: instance.create of redis ins_1: job job_1 failed at step \"ready\": the server did not answer\n"},
		{"create redis --wait -o json", func(f *fakeBerth) {
			f.routes["GET /storage/instances/ins_1"] = []string{"200 " + fmt.Sprintf(cacheDoc, "unhealthy")}
		}, 1, "berth: redis cache is unhealthy, not running"},
		{"create redis --param nonsense=1", func(f *fakeBerth) {
			f.routes["POST /storage/redis/instances"] = []string{`422 {"code":"invalid","detail":"the request is wrong",` +
				`"errors":[{"field":"parameters.nonsense","message":"unknown parameter"}]}`}
		}, 1, "berth: the request is wrong\n  parameters.nonsense: unknown parameter\n"},
		{"rm cache", func(f *fakeBerth) {
			f.routes["DELETE /storage/redis/instances/ins_1"] = []string{`409 {"code":"busy","detail":"it is busy","job_id":"job_7"}`}
		}, 1, "berth: it is busy\n  Job job_7 is still active. Wait for it: berth wait job_7\n"},
		{"get other", func(f *fakeBerth) { f.routes["GET /storage/instances"] = []string{`200 {"items":[]}`} }, 1,
			"berth: there is no instance named \"other\"\n"},
		{"wait job_1 --timeout 1ns", nil, 1, "berth: "},
		{"ls --url http://127.0.0.1:1", nil, 3, "berth: no Berth server responds at http://127.0.0.1:1; start one with `make run` or set BERTH_URL\n"},
		{"ls --url nonsense", nil, 2, "berth: \"nonsense\" is not the URL of a Berth server"},
		{"ls -o xml", nil, 2, "berth: --output is table or json, not \"xml\"\nSee: berth ls --help\n"},
		{"ls --nonsense", nil, 2, "berth: unknown flag: --nonsense\n"},
		{"ls --limit 0", nil, 2, "berth: --limit"},
		{"create", nil, 2, "berth: accepts 1 arg(s), received 0\n"},
		{"create redis --name=", nil, 2, "berth: --name is empty\n"},
		{"create redis --param x", nil, 2, "berth: --param must be name=value, not \"x\"\n"},
		{"create redis --label a=1 --label a=2", nil, 2, "berth: --label a is given twice\n"},
		{"create redis --memory lots", nil, 2, "berth: \"lots\" is not a size such as 512mb or 2g\n"},
		{"create redis --cpu=-1", nil, 2, "berth: --cpu"},
		{"create redis --timeout=0s", nil, 2, "berth: --timeout"},
		{"create redis --idempotency-key=ä", nil, 2, "berth: --idempotency-key"},
		{"config cache --uri --cli", nil, 2, "berth: choose one of"},
		{"config cache --uri --ca", nil, 2, "berth: choose one of"},
		{"config cache --tls", nil, 2, "berth: --tls goes with"},
		{"config cache --env --tls", nil, 2, "berth: --tls goes with"},
		{"rm", nil, 2, "berth: requires at least 1 arg(s), only received 0\n"},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			f := newFake()
			if tt.setUp != nil {
				tt.setUp(f)
			}
			got := berth(t.Context(), t, f, nil, nil, strings.Fields(tt.line)...)
			if got.code != tt.code || !strings.Contains(got.errOut, tt.err) {
				t.Errorf("exit %d, stderr:\n%s\nwant %d and\n%s", got.code, got.errOut, tt.code, tt.err)
			}
			if asked := strings.Contains(tt.line, "json"); asked != json.Valid([]byte(got.out)) || (!asked && got.out != "") {
				t.Errorf("stdout %q", got.out)
			}
		})
	}
}

func TestRmGoesOn(t *testing.T) {
	f := newFake()
	f.routes["GET /storage/instances"] = []string{`200 {"items":[]}`, `200 {"items":[` + fmt.Sprintf(cacheDoc, "running") + `]}`}
	got := berth(t.Context(), t, f, nil, nil, "rm", "other", "cache", "--wait")
	if got.code != 1 || got.out != "Deleted redis cache.\n" || !strings.Contains(got.errOut, `berth: there is no instance named "other"`) {
		t.Errorf("got %+v", got)
	}
}

func TestInterrupt(t *testing.T) {
	size := &terminalSize{80, 24}
	for _, line := range []string{"create redis --wait", "create redis --wait -o json", "rm cache --wait"} {
		ctx, cancel := context.WithCancel(t.Context())
		f := newFake()
		f.routes["GET /jobs/job_1"] = []string{"200 " + jobIn("running")}
		f.onJob = cancel
		got := berth(ctx, t, f, nil, size, strings.Fields(line)...)
		if got.code != 130 {
			t.Errorf("%s: exit %d", line, got.code)
		}
		if want := showCursor + "berth: interrupted; job job_1 continues. To keep waiting: berth wait job_1\n"; !strings.HasSuffix(got.errOut, want) {
			t.Errorf("%s: stderr %q", line, got.errOut)
		}
		if strings.Contains(line, "json") && !json.Valid([]byte(got.out)) {
			t.Errorf("%s: stdout %q", line, got.out)
		}
	}
}

func TestAPIKey(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "admin.key"), []byte("brth_key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fromFile := map[string]string{"BERTH_API_KEY": "", "BERTH_DATA_DIR": dir}
	if got := berth(t.Context(), t, newFake(), fromFile, nil, "ls"); got.code != 0 {
		t.Errorf("with a key file: %+v", got)
	}
	none := map[string]string{"BERTH_API_KEY": "", "BERTH_DATA_DIR": t.TempDir()}
	got := berth(t.Context(), t, newFake(), none, nil, "ls")
	if got.code != 1 || !strings.Contains(got.errOut, "no valid API key\n  The API key is read from BERTH_API_KEY") {
		t.Errorf("without a key: %+v", got)
	}
}

func TestListFollowsTheCursor(t *testing.T) {
	item := fmt.Sprintf(cacheDoc, "running")
	page := func(n int, next string) string {
		return `200 {"items":[` + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + `],"next_cursor":"` + next + `"}`
	}
	f := newFake()
	f.routes["GET /storage/instances"] = []string{page(100, "c1"), page(50, "c2")}
	got := berth(t.Context(), t, f, nil, nil, "ls", "--limit", "150", "--label", "team=a")
	if lines := strings.Count(got.out, "\n"); lines != 151 || got.errOut != "There are more; increase --limit to see them.\n" {
		t.Errorf("%d lines, stderr %q", lines, got.errOut)
	}
	want := []string{"GET /storage/instances?label=team%3Da&limit=100", "GET /storage/instances?cursor=c1&label=team%3Da&limit=50"}
	if sent := f.sent(); !slices.Equal(sent, want) {
		t.Errorf("sent %q", sent)
	}
}
