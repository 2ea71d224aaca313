package api_test

import (
	"slices"
	"strings"
	"testing"
)

// What the document says of single operations, as clients' generators read it.
func TestOpenAPIOperations(t *testing.T) {
	b := newBench(t)
	for _, page := range []string{"/openapi.json", "/openapi-3.0.json"} {
		doc := b.send("GET", page, nil).json
		at := func(path ...string) any {
			var v any = doc
			for _, name := range path {
				m, _ := follow(doc, v).(map[string]any)
				v = m[name]
			}
			return follow(doc, v)
		}
		keys := func(path ...string) (names []string) {
			m, _ := at(path...).(map[string]any)
			for name := range m {
				names = append(names, name)
			}
			slices.Sort(names)
			return names
		}
		const create, cancel = "/api/v1/storage/{engine}/instances", "/api/v1/jobs/{id}/cancel"
		if got := keys("paths", create, "post", "requestBody", "content"); !slices.Equal(got, []string{"application/json"}) {
			t.Errorf("%s: a create takes %v", page, got)
		}
		for path, want := range map[string]string{
			create: "202 400 401 403 404 408 409 413 415 422 429 500 503 default", cancel: "202 400 401 403 404 409 415 422 429 500 503 default",
			"/api/v1/webhooks": "201 400 401 403 408 409 410 413 415 422 429 500 503 default",
		} {
			if got := strings.Join(keys("paths", path, "post", "responses"), " "); got != want {
				t.Errorf("%s: %s answers %s, want %s", page, path, got, want)
			}
		}
		for _, header := range []string{"Location", "Retry-After"} {
			for path, status := range map[string]string{create: "202", cancel: "202"} {
				if at("paths", path, "post", "responses", status, "headers", header, "description") == nil {
					t.Errorf("%s: %s does not describe %s", page, path, header)
				}
			}
		}
		for _, header := range []string{"RateLimit", "RateLimit-Policy"} {
			if at("paths", "/api/v1/engines", "get", "responses", "429", "headers", header, "schema", "type") != "string" {
				t.Errorf("%s: 429 has no %s", page, header)
			}
		}
		for _, status := range []string{"409", "429", "503"} {
			if at("paths", create, "post", "responses", status, "headers", "Retry-After", "schema", "type") != "integer" {
				t.Errorf("%s: %s has no Retry-After", page, status)
			}
		}
		servers, _ := doc["servers"].([]any)
		if at("info", "license", "name") != "Apache-2.0" || len(servers) != 1 {
			t.Errorf("%s: licence %v, servers %v", page, at("info", "license"), servers)
		}
		// Requests are closed, and answers may gain fields.
		if at("components", "schemas", "ResourcesBody", "additionalProperties") != false || slices.Contains(keys("components", "schemas", "JobView"), "additionalProperties") {
			t.Errorf("%s: the wrong schemas are closed", page)
		}
		describesTags(t, page, doc)
	}
}

// describesTags checks that each tag of an operation is described, and used.
func describesTags(t *testing.T, page string, doc map[string]any) {
	t.Helper()
	described := map[any]bool{}
	tags, _ := doc["tags"].([]any)
	for _, v := range tags {
		tag, _ := v.(map[string]any)
		described[tag["name"]] = tag["description"] != ""
	}
	used := map[any]bool{}
	paths, _ := doc["paths"].(map[string]any)
	for path, v := range paths {
		methods, _ := v.(map[string]any)
		for method, v := range methods {
			op, _ := v.(map[string]any)
			tags, _ := op["tags"].([]any)
			if len(tags) != 1 || !described[tags[0]] {
				t.Errorf("%s: %s %s has the tags %v", page, method, path, tags)
				continue
			}
			used[tags[0]] = true
		}
	}
	if len(used) != len(described) {
		t.Errorf("%s: tags %v, used %v", page, described, used)
	}
}

// Both documents, in both forms, for GET and HEAD, to anybody.
func TestOpenAPIPages(t *testing.T) {
	b := newBench(t)
	for _, version := range []string{"/openapi", "/openapi-3.0"} {
		for _, form := range []string{"json", "yaml"} {
			got := b.send("GET", version+"."+form, nil).is(200, "")
			if kind := got.header.Get("Content-Type"); kind != "application/openapi+"+form || !strings.Contains(got.body, "create-instance") {
				t.Errorf("%s.%s: %s", version, form, kind)
			}
			b.send("HEAD", version+"."+form, nil).is(200, "")
		}
	}
	if got := b.send("GET", "/openapi-3.0.json", nil).json["openapi"]; got != "3.0.3" {
		t.Errorf("version %v", got)
	}
}
