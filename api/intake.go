package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"

	"github.com/berth-project/berth/internal/fault"
)

// intake looks at a request before huma does, and refuses what huma passes over in
// silence: parameters that an operation does not have or has once, bodies that say one
// thing twice or are something other than JSON, and ambiguous keys. huma gets the body
// when all of it has arrived.
func (s *server) intake(in huma.Context, next func(huma.Context)) {
	c := humaecho.Unwrap(in)
	taken := &takenIn{humaContext: in, header: map[string]string{}}
	if p := taken.check(c.Request(), c.Response()); p != nil {
		if err := s.writeProblem(c, p); err != nil {
			s.Log.DebugContext(c.Request().Context(), "response not written", "error", err)
		}
		return
	}
	next(taken)
}

type humaContext huma.Context // embedded by a name that is not a method's

// takenIn is a request whose body has arrived.
type takenIn struct {
	humaContext
	body   []byte
	header map[string]string // in place of what was sent
	upload *upload           // a file in the place of a JSON body
}

// Context gives that of the request, with its file.
func (t *takenIn) Context() context.Context {
	if t.upload == nil {
		return t.humaContext.Context()
	}
	return context.WithValue(t.humaContext.Context(), uploadKey{}, t.upload)
}

// Unwrap gives the request as it was.
func (t *takenIn) Unwrap() huma.Context { return t.humaContext }

// BodyReader gives the whole body, which cannot fail any more.
func (t *takenIn) BodyReader() io.Reader { return bytes.NewReader(t.body) }

// SetReadDeadline does nothing: there is nothing left to read.
func (t *takenIn) SetReadDeadline(time.Time) error { return nil }

// Header gives a header as it is to be understood.
func (t *takenIn) Header(name string) string {
	if value, ok := t.header[name]; ok {
		return value
	}
	return t.humaContext.Header(name)
}

func (t *takenIn) check(r *http.Request, w http.ResponseWriter) *problem {
	op := t.Operation()
	// Every answer is JSON, or a stream of it. huma would let a client choose among the
	// names that it knows JSON by, of which some are no media types.
	if accept := t.Header(echo.HeaderAccept); !wantsStream(accept) && !wantsLines(accept) {
		t.header[echo.HeaderAccept] = jsonType
	}
	wrong := wrongParameters(r.URL.Query(), op)
	if values, given := r.Header[idempotencyHeader]; given && !isRead(r.Method) {
		key, why := idempotencyKey(values)
		if why != "" {
			wrong = append(wrong, problemField{idempotencyHeader, why})
		}
		if takesHeader(op, idempotencyHeader) {
			t.header[idempotencyHeader] = key
		}
	}
	if len(wrong) > 0 {
		return refusal(wrong)
	}
	if op.RequestBody == nil && r.ContentLength == 0 || isRead(r.Method) {
		return nil
	}
	if op.OperationID == importOperation {
		up, p := uploaded(r, w)
		if p != nil {
			return p
		}
		if up != nil {
			t.upload, t.body, t.header["Content-Type"] = up, []byte("[]"), jsonType
			return nil
		}
	}
	if p := checkMediaType(r); p != nil {
		return p
	}
	if op.RequestBody == nil {
		_, p := readBody(r, w) // nothing is in it that anybody wants, but it must be whole
		return p
	}
	t.header["Content-Type"] = jsonType // which it is, by whatever name
	var p *problem
	if t.body, p = readBody(r, w); p != nil {
		return p
	}
	return checkJSON(t.body)
}

func isRead(method string) bool { return method == http.MethodGet || method == http.MethodHead }

func refusal(wrong []problemField) *problem {
	p := newProblem(http.StatusUnprocessableEntity, fault.CodeInvalid, refused)
	p.Errors = wrong
	return p
}

// wrongParameters names the query's parameters that the operation does not have, and
// those that are there twice and may not be.
func wrongParameters(query url.Values, op *huma.Operation) []problemField {
	var known []string
	repeatable := map[string]bool{}
	for _, p := range op.Parameters {
		if p.In == "query" {
			known = append(known, p.Name)
			repeatable[p.Name] = p.Schema != nil && p.Schema.Type == huma.TypeArray && p.Explode != nil && *p.Explode
		}
	}
	return wrongNames(query, known, repeatable)
}

func wrongNames(query url.Values, known []string, repeatable map[string]bool) []problemField {
	var wrong []problemField
	for name, values := range query {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			wrong = append(wrong, problemField{name, "unknown parameter; this endpoint takes none"})
		case !slices.Contains(known, name):
			wrong = append(wrong, problemField{name, "unknown parameter; known parameters: " + strings.Join(known, ", ")})
		case len(values) > 1 && !repeatable[name]:
			wrong = append(wrong, problemField{name, "must be given once"})
		}
	}
	slices.SortFunc(wrong, func(a, b problemField) int { return strings.Compare(a.Field, b.Field) })
	return wrong
}

func takesHeader(op *huma.Operation, name string) bool {
	return slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "header" && p.Name == name })
}
