package provision

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// list is one list of the tenant's, as far as its filter goes: what a cursor belongs to.
type list struct {
	prefix string // of its ids
	filter any
}

// cursorTag is how many characters of a cursor bind it to its list.
const cursorTag = 9

// cursor gives where the next page of the list begins: the last id of this one, and a
// tag that says of which list. The tag keeps a client from reading the wrong pages by
// mistake. It is no secret: who makes one up gets nothing that the list would not show.
func (l list) cursor(last string) string { return last + "." + l.tag(last) }

func (l list) tag(last string) string {
	filter, err := json.Marshal(l.filter)
	if err != nil { // a filter is strings
		filter = fmt.Appendf(nil, "%+v", l.filter)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%T\n%s\n%s", l.prefix, l.filter, filter, last))
	return base64.RawURLEncoding.EncodeToString(sum[:])[:cursorTag]
}

// bareID is what releases before the tag gave as a cursor. Their clients may be in the
// middle of a list when the server is upgraded.
var bareID = regexp.MustCompile(`^[a-z]{3}_[0-9A-HJKMNP-TV-Z]{26}$`)

// read gives the id that a cursor holds, or CodeInvalid.
func (l list) read(cursor string) (string, error) {
	wrong := func(message string) (string, error) { return "", invalid([]FieldError{{"cursor", message}}) }
	id, tag, tagged := strings.Cut(cursor, ".")
	switch {
	case cursor == "":
		return "", nil
	case !wellFormed(id) || tagged && len(tag) != cursorTag || !tagged && !bareID.MatchString(id):
		return wrong("is no cursor; give the next_cursor of the page before, or none for the first page")
	case !strings.HasPrefix(id, l.prefix+"_"):
		return wrong("is a cursor of another list; leave it out for the first page of this one")
	case tagged && tag != l.tag(id):
		return wrong("is a cursor of another list, or of this one with another filter; give it with the parameters of the page before, or leave it out")
	}
	return id, nil
}

// page asks for one row more than wanted: its presence says that there is a next page.
func (l list) page(p Page) (Page, error) {
	if p.Limit <= 0 {
		p.Limit = DefaultPageLimit
	}
	p.Limit = min(p.Limit, MaxPageLimit) + 1
	var err error
	p.Before, err = l.read(p.Before)
	return p, err
}

// cut gives the rows that were wanted, and the cursor of the next page, empty on the last.
func cut[T any](l list, rows []T, p Page, id func(T) string) ([]T, string) {
	want := p.Limit - 1
	if len(rows) <= want {
		return rows, ""
	}
	return rows[:want], l.cursor(id(rows[want-1]))
}
