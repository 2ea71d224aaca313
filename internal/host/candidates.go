package host

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/internal/fault"
)

// MaxFindings limits how many wrong fields of a list are named; the one after the last says
// how many more there are.
const MaxFindings = 1000

// CheckAll gives what is wrong in a list of candidates: in each by itself, and the names and
// addresses that two of them have. Fields are named by the row of the file ("rows[7].memory"),
// or by the place in the list where there is no file ("hosts[0].memory").
func CheckAll(all []Candidate) []fault.FieldError { return CheckRead(all, nil) }

// CheckRead does so for candidates that were read from a file, where unread[i] is what could
// not be read of all[i], with fields named as Check does. Of a field that could not be read
// nothing else is said.
func CheckRead(all []Candidate, unread [][]fault.FieldError) []fault.FieldError {
	var wrong []fault.FieldError
	twins := twins{names: map[string]int{}, addresses: map[string]int{}, endpoints: map[string]int{}}
	for i, c := range all {
		var known []fault.FieldError
		if i < len(unread) {
			known = unread[i]
		}
		found := append(c.Check(), twins.find(all, i)...)
		for _, e := range slices.Concat(known, without(found, known)) {
			wrong = append(wrong, fault.FieldError{Field: entryOf(all, i) + "." + e.Field, Message: e.Message})
		}
	}
	return bounded(wrong)
}

// without leaves out what is said of fields that are known to be wrong.
func without(found, known []fault.FieldError) []fault.FieldError {
	if len(known) == 0 {
		return found
	}
	var left []fault.FieldError
	for _, e := range found {
		said := false
		for _, k := range known {
			said = said || e.Field == k.Field || strings.HasPrefix(e.Field, k.Field+"[") ||
				strings.HasPrefix(k.Field, e.Field+"[")
		}
		if !said {
			left = append(left, e)
		}
	}
	return left
}

// entryOf names a candidate in its list.
func entryOf(all []Candidate, i int) string {
	if all[i].Row > 0 {
		return fmt.Sprintf("rows[%d]", all[i].Row)
	}
	return fmt.Sprintf("hosts[%d]", i)
}

// twins are the first candidates of each name, address and endpoint.
type twins struct{ names, addresses, endpoints map[string]int }

// find gives what the candidate has in common with one before it that it may not.
func (t twins) find(all []Candidate, i int) []fault.FieldError {
	var f findings
	endpoint, address := all[i].place()
	claim := func(taken map[string]int, key, field, what string) bool {
		if key == "" {
			return false
		}
		first, found := taken[key]
		if !found {
			taken[key] = i
			return false
		}
		f.add(field, "is %s of %s, too", what, entryOf(all, first))
		return true
	}
	claim(t.names, all[i].Name, "name", "the name")
	if !claim(t.addresses, address, "address", "the address, with the same SSH port,") {
		claim(t.endpoints, endpoint, "endpoint", "the endpoint")
	} else if _, known := t.endpoints[endpoint]; !known {
		t.endpoints[endpoint] = i
	}
	return f
}

// bounded keeps the first findings, and one that says how many more there are.
func bounded(wrong []fault.FieldError) []fault.FieldError {
	if len(wrong) <= MaxFindings {
		return wrong
	}
	left := fmt.Sprintf("%d more fields are wrong; mend these first", len(wrong)-MaxFindings)
	return append(wrong[:MaxFindings:MaxFindings], fault.FieldError{Field: "more", Message: left})
}
