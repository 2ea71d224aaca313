// Package page owns lists that are read page by page: newest first, by the id of the last
// row, with cursors that fit one list only. It must not know what is listed.
package page

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
)

// Pages are at most this long.
const (
	DefaultLimit = 50
	MaxLimit     = 200
)

// Page asks for one page of a list, newest first, by keyset.
type Page struct {
	Before string // the id that ended the page before; empty: the first page
	Limit  int
}

// List is one list of the tenant's, as far as its filter goes: what a cursor belongs to.
type List struct {
	Prefix string // of its ids
	Filter any
}

// cursorTag is how many characters of a cursor bind it to its list.
const cursorTag = 9

// cursor gives where the next page of the list begins: the last id of this one, and a
// tag that says of which list. The tag keeps a client from reading the wrong pages by
// mistake. It is no secret: who makes one up gets nothing that the list would not show.
func (l List) cursor(last string) string { return last + "." + l.tag(last) }

func (l List) tag(last string) string {
	filter, err := json.Marshal(l.Filter)
	if err != nil { // a filter is strings
		filter = fmt.Appendf(nil, "%+v", l.Filter)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", l.Prefix, filter, last))
	return base64.RawURLEncoding.EncodeToString(sum[:])[:cursorTag]
}

// bareID is what releases before the tag gave as a cursor. Their clients may be in the
// middle of a list when the server is upgraded.
var bareID = regexp.MustCompile(`^[a-z]{3}_[0-9A-HJKMNP-TV-Z]{26}$`)

// read gives the id that a cursor holds, or CodeInvalid.
func (l List) read(cursor string) (string, error) {
	wrong := func(message string) (string, error) {
		return "", fault.Invalid([]fault.FieldError{{Field: "cursor", Message: message}})
	}
	theID, tag, tagged := strings.Cut(cursor, ".")
	switch {
	case cursor == "":
		return "", nil
	case !id.WellFormed(theID) || tagged && len(tag) != cursorTag || !tagged && !bareID.MatchString(theID):
		return wrong("is not a cursor; pass the next_cursor of the previous page, or omit it for the first page")
	case !strings.HasPrefix(theID, l.Prefix+"_"):
		return wrong("is a cursor of another list; omit it for the first page of this list")
	case tagged && tag != l.tag(theID):
		return wrong("is a cursor of another list or filter; use the same parameters as for the previous page, or omit it")
	}
	return theID, nil
}

// Fetch returns a page of the list, newest first, and the cursor of the next page, empty
// on the last. It asks for one row more than wanted: its presence says that there is a
// next page.
func Fetch[T any](
	ctx context.Context, l List, asked Page, rows func(context.Context, Page) ([]T, error), id func(T) string,
) (list []T, next string, err error) {
	if asked.Limit <= 0 {
		asked.Limit = DefaultLimit
	}
	want := min(asked.Limit, MaxLimit)
	asked.Limit = want + 1
	if asked.Before, err = l.read(asked.Before); err != nil {
		return nil, "", err
	}
	all, err := rows(ctx, asked)
	if err != nil || len(all) <= want {
		return all, "", err
	}
	return all[:want], l.cursor(id(all[want-1])), nil
}
