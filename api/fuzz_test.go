package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/rooms"
)

// The usual run: so many requests from each of these seeds. BERTH_FUZZ_REQUESTS asks for
// a run of that many from one seed, which it names: a new one, or BERTH_FUZZ_SEED.
const fuzzRequests = 1500

var fuzzSeeds = []uint64{1, 2, 3, 4}

// TestOpenAPIFuzz sends requests that are made from the document, right and wrong ones, and
// holds every answer against it: no status, header, type or field that it does not tell of,
// and no fault of the server's.
func TestOpenAPIFuzz(t *testing.T) {
	if asked := os.Getenv("BERTH_FUZZ_REQUESTS"); asked != "" {
		count, err := strconv.Atoi(asked)
		if err != nil {
			t.Fatalf("BERTH_FUZZ_REQUESTS: %v", err)
		}
		seed := rand.Uint64()
		if given := os.Getenv("BERTH_FUZZ_SEED"); given != "" {
			if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
				t.Fatalf("BERTH_FUZZ_SEED: %v", err)
			}
		}
		t.Logf("BERTH_FUZZ_SEED=%d", seed)
		fuzz(t, seed, count)
		return
	}
	for _, seed := range fuzzSeeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { fuzz(t, seed, fuzzRequests) })
	}
}

// request is one of them.
type request struct {
	op     *operation
	method string
	path   string // encoded
	query  string
	header http.Header
	body   []byte
	sound  bool // nothing of it is against the document, as far as one can see
}

func (q request) String() string {
	return fmt.Sprintf("%s %s?%s %v %.300q (%s)", q.method, q.path, q.query, q.header, q.body, q.op.id)
}

func fuzz(t *testing.T, seed uint64, count int) {
	t.Parallel()
	b := newBench(t)
	b.setPorts(20000, 29999)
	d := describe(t, b)
	r := &draws{Rand: rand.New(rand.NewPCG(seed, 0)), d: d}
	sequencer := event.NewSequencer(rooms.Events(b.store), &bell.Local{}, clock.System, "test")
	succeeded := map[string]bool{}
	failures := 0
	for n := range count {
		q := r.request()
		a := b.sendAsIs(q)
		if err := judge(d, q, a); err != nil {
			t.Errorf("seed %d, request %d: %s\n%d %v %.500s\n%v", seed, n, q, a.status, a.header, a.body, err)
			if failures++; failures == 10 {
				t.FailNow()
			}
		}
		if a.status < http.StatusBadRequest && q.method == q.op.method {
			succeeded[q.op.id] = true
		}
		r.learn(a.body)
		if n%20 == 0 {
			b.work() // so that instances are in all of their states
			if _, err := sequencer.RunOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(succeeded) < (len(d.operations)-len(beyondFuzz))/2 {
		t.Errorf("only %d of %d operations have succeeded: this tests refusals alone", len(succeeded), len(d.operations))
	}
	for _, op := range d.operations {
		if count >= 5000 && !succeeded[op.id] && !slices.Contains(beyondFuzz, op.id) {
			t.Errorf("%s has never succeeded", op.id)
		}
	}
	t.Logf("%d of %d operations have succeeded", len(succeeded), len(d.operations))
}

// beyondFuzz are the operations that what is made up does not bring about: a stream that ends,
// and what takes a session or the token of another answer.
var beyondFuzz = []string{
	"follow-events", "log-out", "log-out-everywhere", "switch-tenant", "change-password", "use-password-reset", "use-invitation", "change-member", "remove-member",
	"withdraw-invitation",
}

// noOperation are the answers to a request that no operation is there for.
var noOperation = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge}

// unsound are the answers to a request that is not what the document asks for.
var unsound = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}

// along gives the operation with the method whose path the path is, as far as its parameters go; nil:
// there is none.
func (d *description) along(method, path string) *operation {
	is := strings.Split(path, "/")
	for _, op := range d.operations {
		of := strings.Split(op.path, "/")
		same := op.method == method && len(of) == len(is)
		for i := 0; same && i < len(of); i++ {
			same = of[i] == is[i] || strings.HasPrefix(of[i], "{")
		}
		if same {
			return op
		}
	}
	return nil
}

// judge says what is wrong with an answer.
func judge(d *description, q request, a answer) error {
	method := q.method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	op := d.byRoute[method+" "+q.op.path]
	if op == nil { // another operation may have a parameter where this path has a word
		op = d.along(method, q.path)
	}
	if a.status >= http.StatusInternalServerError {
		return fmt.Errorf("a fault of the server's")
	}
	refused := op != nil && op.id == "log-in" && a.status == http.StatusUnauthorized
	if q.sound && slices.Contains(unsound, a.status) && !refused {
		return fmt.Errorf("nothing was wrong with its form")
	}
	if op == nil && slices.Contains(noOperation, a.status) || q.method == http.MethodOptions {
		return nil
	}
	if op == nil {
		return fmt.Errorf("there is no such operation")
	}
	return d.check(op, a)
}

// request makes one up: as a rule for an operation, and as a rule nearly right.
func (r *draws) request() request {
	r.spoiled = false
	op := pick(r, r.d.operations...)
	q := request{op: op, method: op.method, header: http.Header{}}
	if r.chance(15) {
		r.spoiled, q.method = true, pick(r, "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
	} else if op.method == http.MethodGet && r.chance(8) {
		q.method = http.MethodHead
	}
	query := url.Values{}
	q.path = op.path
	for _, p := range op.parameters {
		switch {
		case p.in == "path":
			q.path = strings.Replace(q.path, "{"+p.name+"}", r.segment(op, p), 1)
		case !r.chance(3):
		case p.in == "query":
			r.inQuery(query, p)
		case p.in == "header":
			q.header[http.CanonicalHeaderKey(p.name)] = r.headerValues(p)
		}
	}
	q.query = query.Encode()
	if r.chance(12) {
		r.spoiled = true
		q.query += pick(r, "&x=1", "&limit=1&limit=2", "&%ff=1", "&a=%zz", "&&", ";", "&cursor=garbage", "&=",
			"&"+url.QueryEscape(pick(r, texts...))+"=1")
	}
	if !r.chance(20) {
		q.header.Set("Authorization", "Bearer "+adminKey)
	} else if r.spoiled = true; r.chance(2) {
		q.header.Set("Authorization", pick(r, "Bearer", "Bearer x", "Basic eDp5", "bearer  "+adminKey+" ", "Token x", "😀"))
	}
	if q.method != http.MethodGet && q.method != http.MethodHead {
		q.body = r.bodyFor(op)
	}
	if len(q.body) > 0 || r.chance(10) {
		q.header.Set("Content-Type", "application/json")
	}
	if r.chance(12) {
		r.spoiled = true
		q.header.Set("Content-Type", pick(r, "", "text/plain", "application/json; charset=utf-8",
			"application/json;charset=latin1", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
			"application/octet-stream", "application/merge-patch+json", ";", "application/json+;", "+", "😀"))
	}
	if r.chance(10) {
		q.header.Set("Accept", pick(r, "*/*", "application/xml", "text/html", "json",
			"application/x-www-form-urlencoded", "application/problem+json", "application/json;q=0",
			"text/event-stream", "😀", ""))
	}
	if r.chance(20) {
		r.spoiled = true
		q.header.Set(pick(r, "Content-Encoding", "Accept-Encoding", "If-Match", "Range", "Expect",
			"X-HTTP-Method-Override", "Origin"), pick(r, "gzip", "gzip;q=0", "bytes=0-1", "DELETE", "null", "identity",
			"100-continue"))
	}
	q.sound = !r.spoiled
	return q
}

// segment gives a part of a path: as a rule something that is there.
func (r *draws) segment(op *operation, p parameter) string {
	if r.chance(8) {
		r.spoiled = true
		return pick(r, url.PathEscape(pick(r, texts...)), "%2e%2e", "%2F", "%00", "%25", "instances")
	}
	var fitting []string
	for _, id := range r.ids {
		if strings.HasPrefix(id, prefixOf(op, p)) {
			fitting = append(fitting, id)
		}
	}
	if p.name == "engine" || len(fitting) == 0 {
		return url.PathEscape(fmt.Sprint(r.value(p.name, p.schema)))
	}
	id := pick(r, fitting...)
	switch {
	case r.chance(20):
		return strings.ToLower(id)
	case r.chance(20):
		return "%" + strconv.FormatInt(int64(id[0]), 16) + id[1:] // its first letter, encoded
	}
	return id
}

// prefixOf gives what the ids of a path begin with.
func prefixOf(op *operation, p parameter) string {
	before, _, _ := strings.Cut(op.path, "/{"+p.name+"}")
	return prefixes[before[strings.LastIndexByte(before, '/')+1:]]
}

var prefixes = map[string]string{"jobs": "job_", "instances": "ins_", "webhooks": "whk_", "deliveries": "dlv_", "tenants": "ten_", "keys": "key_", "users": "usr_", "members": "usr_", "invitations": "inv_"}

func (r *draws) inQuery(query url.Values, p parameter) {
	v := r.value(p.name, p.schema)
	if r.chance(5) {
		v = pick(r, texts...)
	}
	if p.name == "wait" && v != "" && !slices.Contains(sensible["wait"], v) {
		v = pick[any](r, "-1s", "x", "1e3", "99999999999h") // what is good would take its time
	}
	if list, ok := v.([]any); ok {
		for _, e := range list {
			query.Add(p.name, fmt.Sprint(e))
		}
		return
	}
	query.Set(p.name, fmt.Sprint(v))
	if r.chance(15) {
		query.Add(p.name, fmt.Sprint(v))
	}
}

func (r *draws) headerValues(p parameter) []string {
	text := func() string {
		return strings.NewReplacer("\n", "", "\x00", "", "\r", "").Replace(fmt.Sprint(r.value(p.name, p.schema)))
	}
	if r.chance(6) {
		return pick(r, []string{""}, []string{text(), text()}, []string{`"`}, []string{"-1"}, []string{pick(r, "x", "😀")})
	}
	return []string{text()}
}

var anID = regexp.MustCompile(`"(?:id|next_cursor)":"([^"]+)"`)

// learn keeps the newest of the ids that an answer names, for requests to come.
func (r *draws) learn(body string) {
	for _, match := range anID.FindAllStringSubmatch(body, 5) {
		r.ids = append(r.ids, match[1])
	}
	if extra := len(r.ids) - 100; extra > 0 {
		r.ids = r.ids[extra:]
	}
}

// sendAsIs sends a request as it is, with nothing put right. A stream is cut off.
func (b *bench) sendAsIs(q request) answer {
	b.Helper()
	ctx := b.Context()
	if q.op.id == "list-events" && strings.Contains(q.header.Get("Accept"), "text/event-stream") {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
	}
	path, err := url.PathUnescape(q.path)
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", bytes.NewReader(q.body))
	r.Method, r.URL = q.method, &url.URL{Path: path, RawPath: q.path, RawQuery: q.query}
	r.RequestURI, r.Header = r.URL.RequestURI(), q.header
	recorder := httptest.NewRecorder()
	b.handler.ServeHTTP(recorder, r)
	a := answer{T: b.T, status: recorder.Code, header: recorder.Header(), body: recorder.Body.String(), head: q.method == http.MethodHead}
	_ = json.Unmarshal(recorder.Body.Bytes(), &a.json) // not every answer is an object
	return a
}
