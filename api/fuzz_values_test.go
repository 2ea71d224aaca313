package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// draws makes up values, right and wrong ones.
type draws struct {
	*rand.Rand
	d       *description
	ids     []string // what answers have named
	spoiled bool     // the request that is being made is wrong on purpose
}

func pick[T any](r *draws, from ...T) T { return from[r.IntN(len(from))] }

// chance is true once in so many.
func (r *draws) chance(of int) bool { return r.IntN(of) == 0 }

// texts are such as programs stumble over.
var texts = []string{
	"", " ", "a", "0", "-1", "null", "true", "x y", "Grüße", "😀", "\u202eabc", "e\u0301", "'; DROP TABLE jobs; --",
	"%00", "\x00", "a\nb", "..", "../..", "/", "\\", "\"",
	"{{7*7}}", "${x}", "1e999", "9223372036854775808", "00000000-0000-0000-0000-000000000000", "instances", "ins_",
	"job_00000000000000000000000000", strings.Repeat("x", 300),
	strings.Repeat("é", 5000),
}

// sensible are values that an operation does something with, by the name of a field or
// a parameter.
var sensible = map[string][]any{
	"engine": {"redis", "mysql", "redis"}, "name": {"orders", "cache", "a-1"}, "version": {"8", "9.7", "7"},
	"plan":    {"small", "medium", "large"},
	"timeout": {"10s", "5m", "1h"}, "overlap": {"0s", "1h", "24h"}, "callback_url": {"https://93.184.215.14/x"},
	"url":  {"https://93.184.215.14/hook", "http://93.184.215.14/"},
	"wait": {"0s", "1ms", "2ms"}, "label": {"a=b", "team=x"}, "type": {"instance.running", "job.failed", "ssd"},
	"region": {"eu"}, "zone": {"a"}, "rack": {"r1"}, "arch": {"amd64"}, "address": {"10.0.0.7", "10.0.0.8", "db.example"}, "user": {"root"}, "endpoint": {"", "", "swarm://10.0.0.1:2376"},
	"host_key": {""}, "path": {"/data7", "/data8"}, "capacity": {1 << 30, 1 << 40}, "prepare": {[]any{}, []any{"sysctls"}}, "purpose": {"databases"},
	"first": {20000}, "last": {20999}, "certificates": {nil}, "zones": {[]any{"a", "b"}}, "disks": {[]any{}},
	"events": {[]any{"instance.*"}, []any{}, []any{"job.failed", "job.succeeded"}},
	"parameters": {map[string]any{"maxmemory": "64mb"}, map[string]any{"charset": "latin1"},
		map[string]any{"max_connections": 20, "binlog_format": "ROW"}, map[string]any{}},
	"labels": {map[string]any{"a": "b"}, map[string]any{"team": "x", "a": ""}}, "memory": {"512mb", 1 << 30},
	"disk": {"2gb"}, "cpu": {0.5, 1},
	"Idempotency-Key": {"one", "two", `"three"`}, "Last-Event-ID": {"0", "3"}, "after": {0, 2, 7, 1 << 40},
	"limit": {1, 2, 50, 200}, "role": {"viewer", "member", "owner"}, "login": {"alice", "Bob@example.com"}, "password": {"correct horse battery"},
}

// value makes one up that the schema allows.
func (r *draws) value(name string, schema map[string]any) any {
	schema = r.d.resolve(schema)
	if known := sensible[name]; known != nil && !r.chance(8) {
		return pick(r, known...)
	}
	if enum, _ := schema["enum"].([]any); enum != nil {
		return pick(r, enum...)
	}
	if either, _ := schema["oneOf"].([]any); either != nil {
		one, _ := pick(r, either...).(map[string]any)
		return r.value("", one)
	}
	switch schema["type"] {
	case "boolean":
		return r.chance(2)
	case "integer":
		return r.IntN(200)
	case "number":
		return r.Float64() * 4
	case "array":
		items, _ := schema["items"].(map[string]any)
		list := []any{}
		for range r.IntN(4) {
			if hosts := r.hosts(); strings.HasPrefix(name, "host") && items["type"] == "string" && len(hosts) > 0 {
				list = append(list, pick(r, hosts...))
				continue
			}
			list = append(list, r.value("", items))
		}
		return list
	case "object":
		object := map[string]any{}
		properties, _ := schema["properties"].(map[string]any)
		required, _ := schema["required"].([]any)
		for _, property := range slices.Sorted(maps.Keys(properties)) {
			if slices.Contains(required, any(property)) || r.chance(3) {
				of, _ := properties[property].(map[string]any)
				object[property] = r.value(property, of)
			}
		}
		return object
	}
	if strings.HasSuffix(name, "id") && len(r.ids) > 0 {
		return pick(r, r.ids...)
	}
	return pick(r, texts...)
}

// odd makes one up that fits nowhere, or hardly.
func (r *draws) odd() any {
	deep := any("x")
	for range 60 {
		deep = []any{deep}
	}
	return pick[any](r, nil, true, false, 0, -1, 1.5, 1<<53, json.Number("123456789012345678901234567890"),
		json.Number("-0"), json.Number("1e400"), json.Number("1E-400"),
		pick(r, texts...), []any{}, []any{nil}, map[string]any{}, map[string]any{"": ""},
		map[string]any{"a": map[string]any{"b": nil}}, deep)
}

// spoil changes something of a value, anywhere in it.
func (r *draws) spoil(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if len(v) > 0 && !r.chance(3) {
			v = maps.Clone(v)
			name := pick(r, slices.Sorted(maps.Keys(v))...)
			if r.chance(4) {
				delete(v, name)
			} else {
				v[name] = r.spoil(v[name])
			}
			return v
		}
		if r.chance(2) {
			v = maps.Clone(v)
			v[pick(r, append([]string{"surplus", "Name", "name ", "__proto__"}, texts...)...)] = r.odd()
			return v
		}
	case []any:
		if len(v) > 0 && r.chance(2) {
			v = slices.Clone(v)
			i := r.IntN(len(v))
			v[i] = r.spoil(v[i])
			return v
		}
		if r.chance(3) {
			return append(slices.Clone(v), r.odd())
		}
	}
	return r.odd()
}

// bodyFor gives what is sent as the body of an operation.
func (r *draws) bodyFor(op *operation) []byte {
	if op.body == nil {
		if r.chance(10) {
			r.spoiled = true
			return []byte(pick(r, "{}", "x", strings.Repeat("y", 100)))
		}
		return nil
	}
	v := r.value("", op.body)
	if r.chance(3) {
		r.spoiled = true
		v = r.spoil(v)
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("%T: %v", v, err)) // nothing that is made up here
	}
	if r.chance(8) {
		r.spoiled = true
		text = r.spoilText(text)
	}
	return text
}

// spoilText changes the bytes.
func (r *draws) spoilText(text []byte) []byte {
	at := r.IntN(len(text) + 1)
	switch r.IntN(8) {
	case 0:
		return nil
	case 1:
		return text[:at]
	case 2:
		return append(text, pick(r, "x", " {}", "\xff", "]")...)
	case 3:
		return append([]byte("\xef\xbb\xbf"), text...)
	case 4: // every name twice
		if inner, ok := bytes.CutPrefix(text, []byte("{")); ok && len(inner) > 1 {
			return slices.Concat([]byte("{"), bytes.TrimSuffix(inner, []byte("}")), []byte(","), inner)
		}
		return append([]byte(`{"a":1,"a":2}`), text...)
	case 5:
		return slices.Concat(text[:at], []byte(pick(r, "\xff", "\x00", "\u2028", `\ud800`, ",", "{")), text[at:])
	case 6:
		return append([]byte(strings.Repeat("[", 5000)), text...)
	}
	return bytes.Repeat([]byte(" "), 1<<20+1)
}

// hosts gives the ids of hosts that are known.
func (r *draws) hosts() (all []string) {
	for _, id := range r.ids {
		if strings.HasPrefix(id, "hst_") {
			all = append(all, id)
		}
	}
	return all
}
