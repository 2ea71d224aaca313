package audit

import (
	"fmt"
	"strconv"

	"github.com/berth-project/berth/internal/tenant"
)

// Verifier checks the chain, entry by entry, the newest first.
type Verifier struct {
	// Noted are hashes that somebody has written down before, by the numbers of the entries:
	// they show what only the hashes could not, that the whole chain was made anew.
	Noted map[int64]string

	report  Report
	after   Entry // which was added last
	cleaned int64 // up to where entries were removed in their time
	seen    map[int64]bool
}

// Report says what was found.
type Report struct {
	Entries int64
	// First and Last are the oldest and the newest entry.
	First, Last Head
	// Problems are what is wrong, for people; none: the chain is as it was written.
	Problems []string
}

// maxProblems is how many problems are told.
const maxProblems = 20

func (v *Verifier) wrong(format string, args ...any) {
	if len(v.report.Problems) < maxProblems {
		v.report.Problems = append(v.report.Problems, fmt.Sprintf(format, args...))
	}
}

// Add checks an entry, which is older than those before.
func (v *Verifier) Add(e Entry) {
	if v.report.Entries == 0 {
		v.report.Last = Head{e.Number, e.Hash}
	} else if v.after.Number != e.Number+1 {
		v.gap(e)
	} else if v.after.Previous != e.Hash {
		v.wrong("entry %d does not continue entry %d: one of them was replaced", v.after.Number, e.Number)
	}
	if Link(e) != e.Hash {
		v.wrong("entry %d (%s) is not as it was written", e.Number, e.ID)
	}
	if noted, ok := v.Noted[e.Number]; ok {
		if v.seen == nil {
			v.seen = map[int64]bool{}
		}
		if v.seen[e.Number] = true; noted != e.Hash {
			v.wrong("entry %d has another hash than was noted: the chain was made anew", e.Number)
		}
	}
	if e.Action == tenant.ActAuditClean {
		if n, err := strconv.ParseInt(e.On, 10, 64); err == nil {
			v.cleaned = max(v.cleaned, n)
		}
	}
	v.report.Entries++
	v.report.First, v.after = Head{e.Number, e.Hash}, e
}

func (v *Verifier) gap(e Entry) {
	if e.Number >= v.after.Number {
		v.wrong("entry %d comes after entry %d: the order is wrong", e.Number, v.after.Number)
		return
	}
	if first, last := e.Number+1, v.after.Number-1; first == last {
		v.wrong("entry %d is missing", first)
	} else {
		v.wrong("entries %d to %d are missing", first, last)
	}
}

// Report returns what was found, once all entries were added. Where the oldest entries are
// missing, they must have been removed in their time.
func (v *Verifier) Report() Report {
	r := v.report
	if r.Entries > 0 && r.First.Number > 1 && v.cleaned != r.First.Number-1 {
		v.wrong("entries up to %d are missing, and no entry says that they were removed after their retention", r.First.Number-1)
	}
	for number := range v.Noted {
		if !v.seen[number] && number >= r.First.Number {
			v.wrong("entry %d, whose hash was noted, is missing", number)
		}
	}
	return v.report
}
