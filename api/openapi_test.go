package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

const golden = "testdata/openapi.json"

// The document is part of the public contract: a change of it shows up in review.
func TestOpenAPIGolden(t *testing.T) {
	b := newBench(t)
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte(b.send("GET", "/openapi.json", nil).body), "", "  "); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, pretty.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, pretty.Bytes()) {
		t.Errorf("the document differs from %s; if that is meant: go test ./api -run Golden -update", golden)
	}
}

func TestOpenAPIStructure(t *testing.T) {
	b := newBench(t)
	doc := b.send("GET", "/openapi.json", nil).json
	if version, _ := doc["openapi"].(string); !strings.HasPrefix(version, "3.1.") {
		t.Errorf("openapi %q", version)
	}
	paths, _ := doc["paths"].(map[string]any)
	seen := map[string]bool{}
	for path, v := range paths {
		methods, _ := v.(map[string]any)
		for method, v := range methods {
			op, _ := v.(map[string]any)
			what := method + " " + path
			id, _ := op["operationId"].(string)
			if id == "" || seen[id] || op["summary"] == "" {
				t.Errorf("%s: operationId %q, summary %q", what, id, op["summary"])
			}
			seen[id] = true
			responses, _ := op["responses"].(map[string]any)
			for _, status := range []string{"default", "400", "401", "422", "500"} {
				if responses[status] == nil {
					t.Errorf("%s: no response %s", what, status)
				}
			}
			for status, v := range responses {
				r, _ := follow(doc, v).(map[string]any)
				content, _ := r["content"].(map[string]any)
				want := "application/json"
				if status == "default" || status >= "400" {
					want = "application/problem+json"
				}
				delete(content, "text/event-stream")                                                                       // the same as a stream
				delete(content, "application/x-ndjson")                                                                    // and as lines
				if status == "204" && len(content) == 0 || status == "200" && strings.Contains(what, "/hosts/template.") { // which is a file
					continue
				}
				if id == "get-host-template" && status == "200" {
					continue // a file, of either type
				}
				if content[want] == nil || len(content) != 1 {
					t.Errorf("%s %s: content %v, want %s", what, status, content, want)
				}
			}
			declared := map[string]bool{}
			parameters, _ := op["parameters"].([]any)
			for _, v := range parameters {
				p, _ := v.(map[string]any)
				name, _ := p["name"].(string)
				declared[name] = true
				if p["in"] == "path" && p["required"] != true {
					t.Errorf("%s: path parameter %s is not required", what, name)
				}
			}
			for part := range strings.SplitSeq(path, "/") {
				if name, ok := strings.CutPrefix(part, "{"); ok && !declared[strings.TrimSuffix(name, "}")] {
					t.Errorf("%s: %s is not declared", what, part)
				}
			}
		}
	}
	references(t, doc, doc)
	for _, path := range []string{"/api/v1/engines", "/api/v1/storage/{engine}/instances", "/api/v1/storage/instances", "/api/v1/storage/{engine}/instances/{id}", "/api/v1/storage/{engine}/instances/{id}/config", "/api/v1/jobs", "/api/v1/jobs/{id}", "/api/v1/jobs/{id}/cancel"} {
		if paths[path] == nil {
			t.Errorf("no %s", path)
		}
	}
}

// follow gives what a $ref stands for.
func follow(doc map[string]any, v any) any {
	m, _ := v.(map[string]any)
	ref, ok := m["$ref"].(string)
	if !ok {
		return v
	}
	var at any = doc
	for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		m, _ := at.(map[string]any)
		at = m[name]
	}
	return at
}

// references checks that every $ref leads somewhere.
func references(t *testing.T, doc map[string]any, v any) {
	t.Helper()
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			references(t, doc, e)
		}
	case map[string]any:
		if follow(doc, v) == nil {
			t.Errorf("%s leads nowhere", v["$ref"])
		}
		for _, e := range v {
			references(t, doc, e)
		}
	}
}

// What the engines' answer offers is what a create takes.
func TestEngines(t *testing.T) {
	b := newBench(t)
	a := b.call("GET", "/api/v1/engines", "").is(200, "")
	items, _ := a.json["items"].([]any)
	if len(items) < 2 {
		t.Fatalf("%s", a.body)
	}
	for _, v := range items {
		e, _ := v.(map[string]any)
		name, _ := e["name"].(string)
		schema, _ := e["parameters"].(map[string]any)
		properties, _ := schema["properties"].(map[string]any)
		if schema["additionalProperties"] != false || len(properties) < 4 {
			t.Errorf("%s: schema %v", name, schema)
		}
		defaults := map[string]any{}
		for parameter, v := range properties {
			p, _ := v.(map[string]any)
			defaults[parameter] = p["default"]
		}
		versions, _ := e["versions"].([]any)
		plans, _ := e["plans"].([]any)
		if len(versions) == 0 || len(plans) < 3 {
			t.Errorf("%s: %v, %v", name, versions, plans)
		}
		for _, v := range versions {
			for _, p := range plans {
				body, err := json.Marshal(map[string]any{"version": v.(map[string]any)["name"], "plan": p.(map[string]any)["name"], "parameters": defaults})
				if err != nil {
					t.Fatal(err)
				}
				b.call("POST", "/api/v1/storage/"+name+"/instances", string(body)).is(202, "")
			}
		}
	}
}
