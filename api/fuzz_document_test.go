package api_test

import (
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// operation is what the document says of one.
type operation struct {
	id, method, path string
	parameters       []parameter
	body             map[string]any // its schema; nil: it takes none
	responses        map[string]any
	pointer          string // of the operation in the document
}

type parameter struct {
	name, in string
	explode  bool
	schema   map[string]any
}

// description is the OpenAPI document as its readers see it.
type description struct {
	doc        map[string]any
	operations []*operation
	byRoute    map[string]*operation // "GET /path/{x}"
	compiler   *jsonschema.Compiler
	schemas    map[string]*jsonschema.Schema // of answers, by pointer
}

const documentURL = "http://berth.test/openapi.json"

// describe reads the document that the server gives. Schemas of answers are closed here,
// so that a field that is not documented is found.
func describe(t *testing.T, b *bench) *description {
	t.Helper()
	parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(b.send("GET", "/openapi.json", nil).body))
	if err != nil {
		t.Fatal(err)
	}
	d := &description{byRoute: map[string]*operation{}, compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	d.doc, _ = parsed.(map[string]any)
	paths, _ := d.doc["paths"].(map[string]any)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		methods, _ := paths[path].(map[string]any)
		for _, method := range slices.Sorted(maps.Keys(methods)) {
			op, _ := methods[method].(map[string]any)
			d.add(strings.ToUpper(method), path, op)
		}
	}
	components, _ := d.doc["components"].(map[string]any)
	schemas, _ := components["schemas"].(map[string]any)
	for _, v := range schemas {
		schema, _ := v.(map[string]any)
		if schema["type"] == "object" && schema["additionalProperties"] == nil {
			schema["additionalProperties"] = false
		}
	}
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(documentURL, d.doc); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *description) add(method, path string, spec map[string]any) {
	op := &operation{method: method, path: path, pointer: "/paths/" + escape(path) + "/" + strings.ToLower(method)}
	op.id, _ = spec["operationId"].(string)
	op.responses, _ = spec["responses"].(map[string]any)
	parameters, _ := spec["parameters"].([]any)
	for _, v := range parameters {
		p, _ := v.(map[string]any)
		out := parameter{}
		out.name, _ = p["name"].(string)
		out.in, _ = p["in"].(string)
		out.schema, _ = p["schema"].(map[string]any)
		out.explode, _ = p["explode"].(bool)
		op.parameters = append(op.parameters, out)
	}
	if body, ok := spec["requestBody"].(map[string]any); ok {
		media, _ := body["content"].(map[string]any)["application/json"].(map[string]any)
		op.body, _ = media["schema"].(map[string]any)
	}
	d.operations = append(d.operations, op)
	d.byRoute[method+" "+path] = op
}

func escape(token string) string {
	return url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(token))
}

// resolve gives what a schema refers to.
func (d *description) resolve(schema map[string]any) map[string]any {
	resolved, _ := follow(d.doc, schema).(map[string]any)
	return resolved
}

// check gives what an answer has that the document does not say.
func (d *description) check(op *operation, a answer) error {
	status := strconv.Itoa(a.status)
	spec, ok := follow(d.doc, op.responses[status]).(map[string]any)
	if !ok {
		return fmt.Errorf("status %s is not documented", status)
	}
	headers, _ := spec["headers"].(map[string]any)
	for name, values := range a.header {
		if slices.Contains(everywhere, name) {
			continue
		}
		header, ok := follow(d.doc, caseless(headers, name)).(map[string]any)
		if !ok {
			return fmt.Errorf("header %s of status %s is not documented", name, status)
		}
		schema, _ := header["schema"].(map[string]any)
		if schema["type"] == "integer" {
			if _, err := strconv.Atoi(values[0]); err != nil {
				return fmt.Errorf("header %s is %q, and should be an integer", name, values[0])
			}
		}
	}
	for name := range headers {
		header, _ := follow(d.doc, headers[name]).(map[string]any)
		described, _ := header["description"].(string)
		if always[name] && !strings.Contains(described, "absent after") && a.header.Get(name) == "" {
			return fmt.Errorf("header %s of status %s is missing", name, status)
		}
	}
	if a.status == http.StatusNoContent {
		return nil
	}
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("content type %q: %w", a.header.Get("Content-Type"), err)
	}
	content, _ := spec["content"].(map[string]any)
	if content[kind] == nil {
		return fmt.Errorf("content type %s of status %s is not documented", kind, status)
	}
	if !strings.HasSuffix(kind, "json") || a.head {
		return nil
	}
	return d.validate(op, status, kind, a.body)
}

// everywhere are the headers of every answer, which the document does not repeat, and
// those of HTTP itself.
var everywhere = []string{
	"Content-Type", "Content-Length", "X-Request-Id", "X-Content-Type-Options", "X-Frame-Options",
	"Referrer-Policy", "Cache-Control", "Content-Security-Policy",
	"Ratelimit", "Ratelimit-Policy", // which 429 describes
	"Vary", "Connection", "X-Accel-Buffering",
}

// always are those of the documented headers that every such answer has.
var always = map[string]bool{"Location": true, "WWW-Authenticate": true, "Upgrade": true}

func caseless(headers map[string]any, name string) any {
	for known, v := range headers {
		if http.CanonicalHeaderKey(known) == name {
			return v
		}
	}
	return nil
}

func (d *description) validate(op *operation, status, kind, body string) error {
	pointer := op.pointer + "/responses/" + status
	if ref, ok := op.responses[status].(map[string]any)["$ref"].(string); ok {
		pointer = strings.TrimPrefix(ref, "#")
	}
	pointer += "/content/" + escape(kind) + "/schema"
	schema, ok := d.schemas[pointer]
	if !ok {
		var err error
		if schema, err = d.compiler.Compile(documentURL + "#" + pointer); err != nil {
			return fmt.Errorf("compile the schema: %w", err)
		}
		d.schemas[pointer] = schema
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("the body is not JSON: %w", err)
	}
	return schema.Validate(value)
}
