package audit

import (
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/berth-project/berth/internal/tenant"
)

// FuzzLink: no two entries have the same hash, also where what ends one text begins the next
// or looks like what stands between them; and an entry that went through JSON, as archives
// do, has the hash that it had. What is no UTF-8 is in no entry (tenant.Auditor).
func FuzzLink(f *testing.F) {
	for _, word := range []string{"user alice", "", `","`, `\`, `\",\"`, "<ä&>", "\u2028", "\x00", "\ufffd", "\n"} {
		f.Add(word, "detail", word, int64(1_700_000_000_123))
		f.Add("actor", word, "", int64(-1))
	}
	f.Fuzz(func(t *testing.T, actor, detail, moved string, at int64) {
		if !utf8.ValidString(actor) || !utf8.ValidString(detail) || !utf8.ValidString(moved) {
			return
		}
		e := Entry{Entry: tenant.Entry{ID: "aud_1", At: time.UnixMilli(at % 1e14), Actor: actor + moved, Detail: detail}, Number: 1}
		hash := Link(e)
		other := e
		other.Actor, other.Detail = actor, moved+detail
		if (Link(other) == hash) != (moved == "") {
			t.Errorf("%q, %q and %q, %q", e.Actor, e.Detail, other.Actor, other.Detail)
		}
		text, err := json.Marshal(e.Entry)
		if err != nil {
			return // a year that JSON has no form for
		}
		back := e
		if err := json.Unmarshal(text, &back.Entry); err != nil {
			t.Fatal(err)
		}
		if Link(back) != hash {
			t.Errorf("%s has another hash than it was written with", text)
		}
	})
}
