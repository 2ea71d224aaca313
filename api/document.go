package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/yaml"
	"github.com/labstack/echo/v4"

	"github.com/berth-project/berth/internal/tenant"
)

// This file owns what operations of the OpenAPI document have in common: who may use it
// (info, servers, tags), which failures every operation shares, and the addresses that
// the document is served at. What one operation alone has stands where it is registered.

const documentDescription = "Data services on request: create an instance, wait for its job to end, connect.\n\n" +
	"Errors are `application/problem+json` (RFC 9457) with a stable `code`. Responses may gain fields; clients must ignore " +
	"unknown ones. Every response has an `X-Request-Id`, which the server's log also records.\n\n" +
	"Requests are limited by the minute, for each key and user, and for each address without one. Responses say in the headers " +
	"`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers) what the limit is and what is left of it; beyond it " +
	"they are 429 `too_many_requests` with `Retry-After`.\n\n" +
	"A key belongs to one tenant and has a role; each operation says which roles it takes. A user logs in for a session, which " +
	"works in one tenant that they are a member of. Operators, and users who are members of several tenants, act in another one " +
	"with the header `Berth-Tenant: TENANT_ID`."

func documentInfo(version string) *huma.Info {
	return &huma.Info{
		Title: "Berth", Version: version, Description: documentDescription,
		// By its address: OpenAPI 3.0 knows no identifiers of licences.
		License: &huma.License{Name: "Apache-2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0"},
	}
}

var documentTags = []*huma.Tag{
	{Name: "engines", Description: "Available engines with their versions, plans and parameters."},
	{Name: "instances", Description: "Dedicated MySQL and Redis servers. Creating and deleting are asynchronous: each returns a job."},
	{Name: "jobs", Description: "Durable asynchronous operations on instances, with their steps."},
	{Name: "webhooks", Description: "Subscriptions that send events to a URL, and their deliveries."},
	{Name: "tenants", Description: "Teams, each with things of its own that no other sees."},
	{Name: "quotas", Description: "What a tenant may have, and what it uses of that."},
	{Name: "keys", Description: "API keys of a tenant: each has a role, and may be limited and expire."},
	{Name: "users", Description: "People, who log in with a password."},
	{Name: "sessions", Description: "Log-ins of users, and their passwords."},
	{Name: "members", Description: "Users in a tenant, with their roles, and invitations to become one."},
	{Name: "audit", Description: "Who did what, on what, from where and when."},
	{Name: "hosts", Description: "The machines that instances run on: import, capacity, placement, draining. For operators."},
	{Name: "events", Description: "The tenant's numbered event feed, as pages, as server-sent events or over a WebSocket."},
}

// sharedResponses are the failures by status, each with the name that the document has
// it by. A status that is not here is documented by the operation itself.
var sharedResponses = map[int]struct{ name, description string }{
	http.StatusBadRequest:            {"Malformed", "The body is not a JSON object, or the query string is malformed or not UTF-8."},
	http.StatusUnauthorized:          {"Unauthorized", "The API key or the session is missing, wrong, expired or revoked."},
	http.StatusForbidden:             {"Forbidden", "The caller's role or key does not allow it, or pages of this origin may not use the API."},
	http.StatusNotFound:              {"NotFound", "The resource does not exist or belongs to another tenant."},
	http.StatusRequestTimeout:        {"RequestTimeout", "The body did not arrive in time."},
	http.StatusConflict:              {"Conflict", "The resource's state does not allow the request, another job is active (`job_id` names it), or a request with the same Idempotency-Key is in progress."},
	http.StatusGone:                  {"Gone", "The resource was deleted."},
	http.StatusRequestEntityTooLarge: {"TooLarge", "The body is larger than 1 MiB."},
	http.StatusUnsupportedMediaType:  {"UnsupportedMediaType", "The body is not JSON, or it is compressed."},
	http.StatusUnprocessableEntity:   {"Invalid", "A field or parameter is invalid; `errors` lists each. Nothing was changed."},
	http.StatusUpgradeRequired:       {"UpgradeRequired", "This endpoint needs a WebSocket upgrade."},
	http.StatusTooManyRequests:       {"TooManyJobs", "Too many requests a minute (`RateLimit`), too many unfinished jobs, or too many attempts to log in from one address."},
	http.StatusInternalServerError:   {"Internal", "An internal error; the server's log has the details."},
	http.StatusServiceUnavailable:    {"Unavailable", "A required component is down, or there is no capacity."},
}

const defaultResponse = "Problem"

// document completes the document once all operations are registered.
func document(doc *huma.OpenAPI) {
	problemSchema := &huma.MediaType{Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}}
	content := map[string]*huma.MediaType{problemType: problemSchema}
	doc.Components.Headers = map[string]*huma.Header{
		"RetryAfter":      {Description: "Seconds to wait before trying again.", Schema: &huma.Schema{Type: huma.TypeInteger}},
		"WWWAuthenticate": {Description: "How to authenticate.", Schema: &huma.Schema{Type: huma.TypeString}},
		"Upgrade":         {Description: "The protocol to upgrade to.", Schema: &huma.Schema{Type: huma.TypeString}},
		"RateLimit": {
			Description: "What is left of the rate limit: `r` requests now, and all of them again after `t` seconds. Any response may have it.",
			Schema:      &huma.Schema{Type: huma.TypeString, Examples: []any{`"caller";r=5994;t=1`}},
		},
		"RateLimitPolicy": {
			Description: "The rate limit that the request counts for: `q` requests in `w` seconds, for each key and user (`caller`) or for each address without one (`address`). Any response may have it.",
			Schema:      &huma.Schema{Type: huma.TypeString, Examples: []any{`"caller";q=6000;w=60`}},
		},
	}
	doc.Components.Responses = map[string]*huma.Response{
		defaultResponse: {Description: "Any other failure.", Content: content},
	}
	for status, shared := range sharedResponses {
		doc.Components.Responses[shared.name] = &huma.Response{Description: shared.description, Content: content, Headers: headersOf(status)}
	}
	for _, item := range doc.Paths {
		for _, op := range operationsOf(item) {
			documentOperation(op)
		}
	}
	openAnswers(doc)
}

// operationsOf gives the operations of a path.
func operationsOf(item *huma.PathItem) []*huma.Operation {
	all := []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete}
	return slices.DeleteFunc(all, func(op *huma.Operation) bool { return op == nil })
}

// takesText says which callers an operation takes; empty: all that are known.
func takesText(right tenant.Right) string {
	switch right {
	case "", tenant.Identify:
		return ""
	case tenant.Anybody:
		return "Takes no key."
	case tenant.Oneself:
		return "Takes the session of a user."
	}
	return "Takes the role " + tenant.WhoMay(right) + "."
}

func headersOf(status int) map[string]*huma.Header {
	ref := func(name, header string) map[string]*huma.Header {
		return map[string]*huma.Header{header: {Ref: "#/components/headers/" + name}}
	}
	switch status {
	case http.StatusUnauthorized:
		return ref("WWWAuthenticate", echo.HeaderWWWAuthenticate)
	case http.StatusConflict, http.StatusServiceUnavailable:
		return ref("RetryAfter", "Retry-After")
	case http.StatusTooManyRequests:
		all := ref("RetryAfter", "Retry-After")
		maps.Copy(all, ref("RateLimit", rateLimitHeader))
		maps.Copy(all, ref("RateLimitPolicy", ratePolicyHeader))
		return all
	case http.StatusUpgradeRequired:
		return ref("Upgrade", "Upgrade")
	}
	return nil
}

// documentOperation adds the failures that an operation's form brings with it, and refers
// to the shared description of each.
func documentOperation(op *huma.Operation) {
	if takes := takesText(rightOf(op)); takes != "" {
		op.Description = strings.TrimLeft(op.Description+"\n\n"+takes, "\n")
	}
	if rightOf(op) == tenant.Anybody {
		op.Security = []map[string][]string{{}, {"api_key": {}}}
	}
	failures := append(slices.Clone(op.Errors), http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusInternalServerError)
	if strings.Contains(op.Path, "{") {
		failures = append(failures, http.StatusNotFound)
	}
	if op.OperationID != "list-engines" { // that one asks no database
		failures = append(failures, http.StatusServiceUnavailable)
	}
	if op.Method != http.MethodGet { // a body is looked at, whether it is wanted or not
		failures = append(failures, http.StatusUnsupportedMediaType)
	}
	if takesHeader(op, idempotencyHeader) { // the first request may still be running
		failures = append(failures, http.StatusConflict)
	}
	if body := op.RequestBody; body != nil {
		failures = append(failures, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge)
		delete(body.Content, "application/octet-stream") // how huma documents that a handler looks at the raw body
	}
	for status, r := range op.Responses {
		if number, err := strconv.Atoi(status); err == nil && number < http.StatusBadRequest {
			describeHeaders(r)
			continue
		}
		delete(op.Responses, status)
	}
	for _, status := range failures {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/" + sharedResponses[status].name}
	}
	op.Responses["default"] = &huma.Response{Ref: "#/components/responses/" + defaultResponse}
}

// describeHeaders has tools show what a header is for: huma says it of the schema only.
func describeHeaders(r *huma.Response) {
	for _, h := range r.Headers {
		if h.Description == "" && h.Schema != nil {
			h.Description = h.Schema.Description
		}
	}
}

// openAnswers lets the schemas of answers have further fields: a client that was
// generated today reads what a later release adds. Those of requests stay closed, since
// unknown fields are refused.
func openAnswers(doc *huma.OpenAPI) {
	schemas := doc.Components.Schemas.Map()
	asked := map[*huma.Schema]bool{}
	for _, item := range doc.Paths {
		for _, op := range operationsOf(item) {
			if op.RequestBody == nil {
				continue
			}
			for _, media := range op.RequestBody.Content {
				markReachable(doc.Components.Schemas, media.Schema, asked)
			}
		}
	}
	for _, schema := range schemas {
		if !asked[schema] && schema.AdditionalProperties == false {
			schema.AdditionalProperties = nil
		}
	}
}

func markReachable(registry huma.Registry, schema *huma.Schema, seen map[*huma.Schema]bool) {
	if schema == nil {
		return
	}
	if schema.Ref != "" {
		schema = registry.SchemaFromRef(schema.Ref)
	}
	if seen[schema] {
		return
	}
	seen[schema] = true
	markReachable(registry, schema.Items, seen)
	for part := range maps.Values(schema.Properties) {
		markReachable(registry, part, seen)
	}
}

// documentRoutes serves the document: 3.1, and 3.0 for tools that do not know 3.1 yet.
func documentRoutes(e *echo.Echo, doc *huma.OpenAPI) {
	both := sync.OnceValues(func() ([]byte, error) { return json.Marshal(doc) })
	older := sync.OnceValues(func() ([]byte, error) { return downgrade(doc) })
	for path, text := range map[string]func() ([]byte, error){"/openapi": both, "/openapi-3.0": older} {
		inYAML := sync.OnceValues(func() ([]byte, error) { return toYAML(text) })
		e.Match([]string{http.MethodGet, http.MethodHead}, path+".json", documentPage("application/openapi+json", text))
		e.Match([]string{http.MethodGet, http.MethodHead}, path+".yaml", documentPage("application/openapi+yaml", inYAML))
	}
}

// downgrade writes the document as OpenAPI 3.0, whose schemas say by the format alone that something
// is binary.
func downgrade(doc *huma.OpenAPI) ([]byte, error) {
	text, err := doc.Downgrade()
	if err != nil {
		return nil, err
	}
	var all any
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	dropKey(all, "contentMediaType")
	return json.Marshal(all)
}

// dropKey removes a key from all objects below.
func dropKey(value any, key string) {
	switch v := value.(type) {
	case map[string]any:
		delete(v, key)
		for _, below := range v {
			dropKey(below, key)
		}
	case []any:
		for _, below := range v {
			dropKey(below, key)
		}
	}
}

func toYAML(text func() ([]byte, error)) ([]byte, error) {
	source, err := text()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := yaml.Convert(&out, bytes.NewReader(source)); err != nil {
		return nil, fmt.Errorf("write the OpenAPI document as YAML: %w", err)
	}
	return out.Bytes(), nil
}

func documentPage(kind string, text func() ([]byte, error)) echo.HandlerFunc {
	return func(c echo.Context) error {
		page, err := text()
		if err != nil {
			return err
		}
		return c.Blob(http.StatusOK, kind, page)
	}
}
