package audit

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/tenant"
)

// chainOf returns a chain of so many entries, newest first.
func chainOf(n int) []Entry {
	all, head := make([]Entry, n), Head{}
	for i := range n {
		e := Entry{Entry: tenant.Entry{
			ID: tenant.EntryID(fmt.Sprintf("aud_%03d", i)), At: time.UnixMilli(int64(1_700_000_000_123 + i)), Tenant: "one", Actor: "user alice", User: "usr_1", Key: "key_1",
			Session: "ses_1", Origin: tenant.Origin{Address: "203.0.113.7", Request: "r1"}, Action: tenant.ActKeyCreate, On: "key_2", Job: "job_1", Result: tenant.Done, Detail: "<ä&>",
		}, Number: head.Number + 1, Previous: head.Hash}
		e.Hash = Link(e)
		head = Head{e.Number, e.Hash}
		all[n-1-i] = e
	}
	return all
}

func verify(noted map[int64]string, all ...Entry) Report {
	v := Verifier{Noted: noted}
	for _, e := range all {
		v.Add(e)
	}
	return v.Report()
}

// TestLink fixes what the hash is of: chains that are there must stay right.
func TestLink(t *testing.T) {
	const want = "caa12980ccfbd4837d46545c534cae7a733db66f056681980effddc6fdd1709c"
	if got := chainOf(2)[0].Hash; got != want {
		t.Errorf("%s", got)
	}
}

// fields change one thing of an entry each.
var fields = []func(*Entry){
	func(e *Entry) { e.ID += "x" }, func(e *Entry) { e.At = e.At.Add(time.Millisecond) }, func(e *Entry) { e.Tenant = "two" }, func(e *Entry) { e.Actor = "user bob" },
	func(e *Entry) { e.User = "" }, func(e *Entry) { e.Key = "key_9" }, func(e *Entry) { e.Session = "" }, func(e *Entry) { e.Address = "198.51.100.1" },
	func(e *Entry) { e.Request = "" }, func(e *Entry) { e.Action = tenant.ActKeyRevoke }, func(e *Entry) { e.On = "key_3" }, func(e *Entry) { e.Job = "" },
	func(e *Entry) { e.Result = tenant.Refused }, func(e *Entry) { e.Detail = "" }, func(e *Entry) { e.Previous = strings.Repeat("0", 64) }, func(e *Entry) { e.Hash = strings.Repeat("0", 64) },
	func(e *Entry) { e.On, e.Job = e.On+string(e.Job), "" }, // where one text ends and the next begins
}

// TestTampering: whatever is done to some entries of a chain shows.
func TestTampering(t *testing.T) {
	const n = 12
	if r := verify(nil, chainOf(n)...); len(r.Problems) > 0 || r.Entries != n || r.First.Number != 1 || r.Last.Number != n {
		t.Fatalf("%+v", r)
	}
	random := rand.New(rand.NewPCG(1, 2))
	tamper := map[string]func([]Entry) []Entry{
		"changed": func(all []Entry) []Entry {
			fields[random.IntN(len(fields))](&all[random.IntN(n)])
			return all
		},
		"changed, and hashed again": func(all []Entry) []Entry {
			e := &all[1+random.IntN(n-1)] // the newest: only what was noted shows that
			e.Detail = "nothing to see"
			e.Hash = Link(*e)
			return all
		},
		"removed": func(all []Entry) []Entry {
			at := 1 + random.IntN(n-1)
			return append(all[:at:at], all[at+1:]...)
		},
		"removed from the beginning": func(all []Entry) []Entry { return all[:n-1-random.IntN(n-2)] },
		"swapped": func(all []Entry) []Entry {
			at := random.IntN(n - 1)
			all[at], all[at+1] = all[at+1], all[at]
			return all
		},
		"put in": func(all []Entry) []Entry {
			at := random.IntN(n)
			fresh := all[at]
			fresh.Detail = "made up"
			fresh.Hash = Link(fresh)
			return append(all[:at:at], append([]Entry{fresh}, all[at:]...)...)
		},
	}
	for what, do := range tamper {
		for range 200 {
			if r := verify(nil, do(chainOf(n))...); len(r.Problems) == 0 {
				t.Errorf("%s, and nothing shows", what)
				break
			}
		}
	}
	for i, change := range fields {
		all := chainOf(n)
		change(&all[3])
		if r := verify(nil, all...); len(r.Problems) == 0 {
			t.Errorf("field %d changed, and nothing shows", i)
		}
	}
}

// TestNoted: what was written down elsewhere shows that a chain was made anew, or lost its end.
func TestNoted(t *testing.T) {
	was := chainOf(6)
	noted := map[int64]string{5: was[1].Hash, 2: was[4].Hash}
	if r := verify(noted, was...); len(r.Problems) > 0 {
		t.Errorf("%v", r.Problems)
	}
	for what, now := range map[string][]Entry{
		"the end is gone": was[2:], "all are gone": nil,
		"made anew": func() []Entry {
			all := chainOf(6)
			for i := 3; i >= 0; i-- {
				all[i].Actor, all[i].Previous = "nobody", all[i+1].Hash
				all[i].Hash = Link(all[i])
			}
			return all
		}(),
	} {
		if r := verify(noted, now...); len(r.Problems) == 0 {
			t.Errorf("%s, and nothing shows", what)
		}
	}
}

// TestCleaned: entries that the log says were removed in their time may be missing, others not.
func TestCleaned(t *testing.T) {
	cut := func(upTo string) []Entry {
		all := chainOf(6)
		e := &all[0]
		e.Action, e.On = tenant.ActAuditClean, upTo
		e.Hash = Link(*e)
		return all[:4] // without 1 and 2
	}
	if r := verify(map[int64]string{1: "x"}, cut("2")...); len(r.Problems) > 0 {
		t.Errorf("%v", r.Problems)
	}
	for _, upTo := range []string{"1", "3", "", "x"} {
		if r := verify(nil, cut(upTo)...); len(r.Problems) == 0 {
			t.Errorf("cleaned to %q, and nothing shows", upTo)
		}
	}
}
