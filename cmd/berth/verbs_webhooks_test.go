package main

import (
	"slices"
	"strings"
	"testing"
)

func fakeWithWebhooks() *fakeBerth {
	f := newFake()
	hook := `{"id":"whk_1","url":"https://a.example/","events":["job.*"],"enabled":false,"disabled_reason":"410","created_at":"2026-11-05T11:57:00.000Z"`
	sent := `{"id":"dlv_1","webhook_id":"whk_1","event_id":"evt_1","event_type":"job.failed","url":"https://a.example/","state":"pending","attempt":2,` +
		`"last_error":"no\nanswer","created_at":"2026-11-05T11:57:00.000Z"}`
	f.routes["GET /webhooks"] = []string{`200 {"items":[` + hook + `}]}`}
	f.routes["POST /webhooks"] = []string{"201 " + hook + `,"secret":"whsec_1"}`}
	f.routes["DELETE /webhooks/whk_1"] = []string{"200 " + hook + "}"}
	f.routes["POST /webhooks/whk_1/ping"] = []string{"202 " + sent}
	f.routes["GET /deliveries"] = []string{`200 {"items":[` + sent + `]}`}
	return f
}

func TestWebhookVerbs(t *testing.T) {
	for line, want := range map[string][2]string{ // what is printed, and what is asked for
		"ls": {"WEBHOOK  URL                 EVENTS  STATE          AGE\nwhk_1    https://a.example/  job.*   disabled: 410  3m\n", "GET /webhooks?limit=100"},
		"add https://a.example/ --event job.*": {
			"Added whk_1.\nSecret that signs deliveries (shown only once): whsec_1\nTest it: berth webhooks ping whk_1\n",
			`POST /webhooks {"url":"https://a.example/","events":["job.*"]}`,
		},
		"rm whk_1":   {"Removed whk_1.\n", "DELETE /webhooks/whk_1"},
		"ping whk_1": {"Sending evt_1. Check its delivery: berth webhooks deliveries whk_1\n", "POST /webhooks/whk_1/ping"},
		"deliveries whk_1 --state pending": {
			"DELIVERY  EVENT       STATE    ATTEMPTS  LAST ERROR  AGE  TO\ndlv_1     job.failed  pending  2         no answer   3m   whk_1\n",
			"GET /deliveries?limit=100&state=pending&webhook_id=whk_1",
		},
	} {
		f := fakeWithWebhooks()
		got := berth(t.Context(), t, f, nil, nil, append([]string{"webhooks"}, strings.Fields(line)...)...)
		if got.code != 0 || got.errOut != "" || got.out != want[0] {
			t.Errorf("%s: exit %d, stderr %q\n%s\nwant:\n%s", line, got.code, got.errOut, got.out, want[0])
		}
		if sent := f.sent(); !slices.Equal(sent, []string{want[1]}) {
			t.Errorf("%s: sent %q", line, sent)
		}
	}
}

// What may have been made although the answer says nothing of it is asked for again under the
// same key, and each command has another one.
func TestWebhooksAreMadeOnce(t *testing.T) {
	keys := map[string]bool{}
	for line, route := range map[string]string{"add https://a.example/": "POST /webhooks", "ping whk_1": "POST /webhooks/whk_1/ping"} {
		f := fakeWithWebhooks()
		f.routes[route] = append([]string{`503 {"code":"unavailable","detail":"away"}`}, f.routes[route]...)
		got := berth(t.Context(), t, f, nil, nil, append([]string{"webhooks"}, strings.Fields(line)...)...)
		if got.code != 0 || len(f.keys) != 2 || f.keys[0] == "" || f.keys[0] != f.keys[1] || keys[f.keys[0]] {
			t.Errorf("%s: exit %d, sent %q with the keys %q", line, got.code, f.sent(), f.keys)
		}
		keys[f.keys[0]] = true
	}
	f := fakeWithWebhooks()
	for _, line := range []string{"webhooks add", "webhooks ls --limit 0", "webhooks rm"} {
		if got := berth(t.Context(), t, f, nil, nil, strings.Fields(line)...); got.code != exitUsage {
			t.Errorf("%s: exit %d", line, got.code)
		}
	}
}
