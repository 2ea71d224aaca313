package api_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const (
	mysqlPath = "/api/v1/storage/mysql/instances"
	redisPath = "/api/v1/storage/redis/instances"
)

// TestCreateRefused is everything that a create is refused for. Each leaves the
// database as it was.
func TestCreateRefused(t *testing.T) {
	b := newBench(t)
	b.made("mysql", `{"name":"taken"}`)
	before := b.rows()
	labels := make([]string, 33)
	for i := range labels {
		labels[i] = fmt.Sprintf(`"l%d":""`, i)
	}
	const malformed, invalid = http.StatusBadRequest, http.StatusUnprocessableEntity
	for _, s := range []struct {
		name, path, body string
		status           int
		code             string
		field            string
		says             []string
	}{
		{"unknown engine", "/api/v1/storage/oracle/instances", `{}`, 404, "not_found", "", []string{"oracle", "mysql, redis"}},
		{"odd engine", "/api/v1/storage/%00'%22%F0%9F%98%80/instances", `{}`, 404, "not_found", "", nil},
		{"unknown version", mysqlPath, `{"version":"5.5"}`, invalid, "invalid", "version", []string{"9.7"}},
		{"version of a wrong type", redisPath, `{"version":8}`, invalid, "invalid", "version", []string{"string"}},
		{"unknown plan", mysqlPath, `{"plan":"gigantic"}`, invalid, "invalid", "plan", []string{"small, medium, large"}},
		{"unknown plan with resources", mysqlPath, `{"plan":"gigantic","resources":{"memory":1073741824}}`, invalid, "invalid", "plan", nil},
		{"plan custom without resources", mysqlPath, `{"plan":"custom"}`, invalid, "invalid", "plan", nil},
		{"unknown field", mysqlPath, `{"size":"x"}`, invalid, "invalid", "size", []string{"unknown field", "name, version"}},
		{"unknown field with a dot", mysqlPath, `{"a.b":1}`, invalid, "invalid", "a.b", []string{"name, version"}},
		{"field in the wrong case", mysqlPath, `{"Name":"x"}`, invalid, "invalid", "Name", []string{"unknown field"}},
		{"unknown resource", mysqlPath, `{"resources":{"cpus":1}}`, invalid, "invalid", "resources.cpus", []string{"cpu, memory, disk"}},
		{"unknown parameter", redisPath, `{"parameters":{"maxmem":1}}`, invalid, "invalid", "parameters.maxmem", []string{"maxmemory", "appendfsync"}},
		{"other engine's parameter", redisPath, `{"parameters":{"charset":"latin1"}}`, invalid, "invalid", "parameters.charset", []string{"maxclients"}},
		{"parameter of a wrong type", mysqlPath, `{"parameters":{"charset":5}}`, invalid, "invalid", "parameters.charset", []string{"utf8mb4, latin1"}},
		{"parameter null", mysqlPath, `{"parameters":{"charset":null}}`, invalid, "invalid", "parameters.charset", []string{"utf8mb4"}},
		{"parameter not in the list", mysqlPath, `{"parameters":{"binlog_format":"NONE"}}`, invalid, "invalid", "parameters.binlog_format", []string{"ROW", "STATEMENT", "MIXED"}},
		{"parameter too small", mysqlPath, `{"parameters":{"max_connections":0}}`, invalid, "invalid", "parameters.max_connections", []string{"from", "to"}},
		{"parameter too big", redisPath, `{"parameters":{"maxclients":100000000}}`, invalid, "invalid", "parameters.maxclients", []string{"from", "to"}},
		{"parameter no integer", redisPath, `{"parameters":{"maxclients":1.5}}`, invalid, "invalid", "parameters.maxclients", []string{"integer"}},
		{"parameter far too big", redisPath, `{"parameters":{"maxclients":123456789012345678901234567890}}`, invalid, "invalid", "parameters.maxclients", nil},
		{"bytes that are none", redisPath, `{"parameters":{"maxmemory":"much"}}`, invalid, "invalid", "parameters.maxmemory", []string{"64mb"}},
		{"more memory than the plan has", redisPath, `{"parameters":{"maxmemory":"64gb"}}`, invalid, "invalid", "parameters.maxmemory", nil},
		{"more connections than the plan is good for", mysqlPath, `{"parameters":{"max_connections":9999}}`, invalid, "invalid", "parameters.max_connections", []string{"at most"}},
		{"parameters an array", mysqlPath, `{"parameters":[]}`, invalid, "invalid", "parameters", []string{"object"}},
		{"collation of another charset", mysqlPath, `{"parameters":{"charset":"latin1","collation":"utf8mb4_bin"}}`, invalid, "invalid", "parameters.collation", []string{"latin1"}},
		{"name empty", mysqlPath, `{"name":""}`, invalid, "invalid", "name", []string{"empty"}},
		{"name too long", mysqlPath, `{"name":"` + strings.Repeat("a", 41) + `"}`, invalid, "invalid", "name", []string{"40"}},
		{"name with capitals", mysqlPath, `{"name":"Mine"}`, invalid, "invalid", "name", []string{"a-z"}},
		{"name with a space", mysqlPath, `{"name":"my db"}`, invalid, "invalid", "name", []string{"a-z"}},
		{"name with unicode", mysqlPath, `{"name":"bücher"}`, invalid, "invalid", "name", []string{"a-z"}},
		{"name with a zero byte", mysqlPath, `{"name":"a\u0000b"}`, invalid, "invalid", "name", []string{"a-z"}},
		{"name with a line break", mysqlPath, `{"name":"ab\n"}`, invalid, "invalid", "name", []string{"a-z"}},
		{"name that begins with a hyphen", mysqlPath, `{"name":"-a"}`, invalid, "invalid", "name", []string{"begin"}},
		{"name taken", mysqlPath, `{"name":"taken"}`, invalid, "invalid", "name", []string{"taken by ins_", "running"}},
		{"name taken, other engine", redisPath, `{"name":"taken"}`, invalid, "invalid", "name", []string{"taken"}},
		{"name of a wrong type", mysqlPath, `{"name":["a"]}`, invalid, "invalid", "name", []string{"string"}},
		{"too little memory", mysqlPath, `{"resources":{"memory":1}}`, invalid, "invalid", "resources.memory", []string{"from", "bytes"}},
		{"negative memory", mysqlPath, `{"resources":{"memory":-1}}`, invalid, "invalid", "resources.memory", []string{"512mb"}},
		{"memory that is none", mysqlPath, `{"resources":{"memory":"lots"}}`, invalid, "invalid", "resources.memory", []string{"512mb"}},
		{"memory true", mysqlPath, `{"resources":{"memory":true}}`, invalid, "invalid", "resources.memory", []string{"512mb"}},
		{"memory beyond counting", mysqlPath, `{"resources":{"memory":123456789012345678901234567890}}`, invalid, "invalid", "resources.memory", []string{"bytes"}},
		{"memory beyond counting, in words", mysqlPath, `{"resources":{"memory":"999999999999999gb"}}`, invalid, "invalid", "resources.memory", []string{"bytes"}},
		{"too much cpu", mysqlPath, `{"resources":{"cpu":1e300}}`, invalid, "invalid", "resources.cpu", []string{"0.25", "32 cores"}},
		{"negative cpu", mysqlPath, `{"resources":{"cpu":-1}}`, invalid, "invalid", "resources.cpu", []string{"cores"}},
		{"cpu in words", mysqlPath, `{"resources":{"cpu":"1"}}`, invalid, "invalid", "resources.cpu", []string{"number"}},
		{"resources a number", mysqlPath, `{"resources":5}`, invalid, "invalid", "resources", []string{"object"}},
		{"label of a wrong type", mysqlPath, `{"labels":{"a":5}}`, invalid, "invalid", "labels.a", []string{"string"}},
		{"label with odd characters", mysqlPath, `{"labels":{"a b":"x"}}`, invalid, "invalid", "labels.a b", []string{"A-Z"}},
		{"label too long", mysqlPath, `{"labels":{"a":"` + strings.Repeat("x", 64) + `"}}`, invalid, "invalid", "labels.a", []string{"63"}},
		{"too many labels", mysqlPath, `{"labels":{` + strings.Join(labels, ",") + `}}`, invalid, "invalid", "labels", []string{"32"}},
		{"callback no URL", mysqlPath, `{"callback_url":"nonsense"}`, invalid, "invalid", "callback_url", []string{"http"}},
		{"callback ftp", mysqlPath, `{"callback_url":"ftp://example.com/"}`, invalid, "invalid", "callback_url", []string{"http"}},
		{"callback file", mysqlPath, `{"callback_url":"file:///etc/passwd"}`, invalid, "invalid", "callback_url", []string{"http"}},
		{"callback without a host", mysqlPath, `{"callback_url":"http:///x"}`, invalid, "invalid", "callback_url", []string{"host"}},
		{"callback with a password", mysqlPath, `{"callback_url":"https://a:b@example.com/"}`, invalid, "invalid", "callback_url", []string{"password"}},
		{"callback loopback", mysqlPath, `{"callback_url":"http://127.0.0.1/"}`, invalid, "invalid", "callback_url", []string{"not public"}},
		{"callback loopback 6", mysqlPath, `{"callback_url":"http://[::1]/"}`, invalid, "invalid", "callback_url", []string{"not public"}},
		{"callback loopback 4 in 6", mysqlPath, `{"callback_url":"http://[::ffff:127.0.0.1]/"}`, invalid, "invalid", "callback_url", []string{"not public"}},
		{"callback localhost", mysqlPath, `{"callback_url":"http://localhost:8080/"}`, invalid, "invalid", "callback_url", []string{"not public"}},
		{"callback private", mysqlPath, `{"callback_url":"http://10.1.2.3/"}`, invalid, "invalid", "callback_url", []string{"not public"}},
		{"callback metadata", mysqlPath, `{"callback_url":"http://169.254.169.254/latest"}`, invalid, "invalid", "callback_url", []string{"not public"}},
		{"callback of a wrong type", mysqlPath, `{"callback_url":5}`, invalid, "invalid", "callback_url", []string{"string"}},
		{"timeout no duration", mysqlPath, `{"timeout":"soon"}`, invalid, "invalid", "timeout", []string{"10s", "1h", "5m"}},
		{"timeout too short", mysqlPath, `{"timeout":"9s"}`, invalid, "invalid", "timeout", []string{"from 10s to 1h"}},
		{"timeout too long", mysqlPath, `{"timeout":"61m"}`, invalid, "invalid", "timeout", []string{"from 10s to 1h"}},
		{"timeout of a wrong type", mysqlPath, `{"timeout":60}`, invalid, "invalid", "timeout", []string{"string"}},
		{"unknown policy", mysqlPath, `{"on_failure":"panic"}`, invalid, "invalid", "on_failure", []string{"cleanup", "keep"}},
		{"no JSON", mysqlPath, `{'name':'x'}`, malformed, "malformed", "", []string{"JSON"}},
		{"truncated", mysqlPath, `{"name":"x`, malformed, "malformed", "", []string{"JSON"}},
		{"only a bracket", mysqlPath, `{`, malformed, "malformed", "", []string{"JSON"}},
		{"white space only", mysqlPath, ` `, malformed, "malformed", "", []string{"JSON"}},
		{"trailing garbage", mysqlPath, `{"name":"x"} y`, malformed, "malformed", "", []string{"JSON"}},
		{"two objects", mysqlPath, `{"name":"x"}{"name":"y"}`, malformed, "malformed", "", []string{"JSON"}},
		{"byte order mark", mysqlPath, "\xef\xbb\xbf{}", malformed, "malformed", "", []string{"JSON"}},
		{"too deep", mysqlPath, strings.Repeat(`{"parameters":`, 12000), malformed, "malformed", "", []string{"depth"}},
		{"null", mysqlPath, `null`, malformed, "malformed", "", []string{"object"}},
		{"an array", mysqlPath, `[]`, malformed, "malformed", "", []string{"object"}},
		{"a string", mysqlPath, `"x"`, malformed, "malformed", "", []string{"object"}},
		{"a number", mysqlPath, `5`, malformed, "malformed", "", []string{"object"}},
		{"a number that no computer holds", mysqlPath, `{"resources":{"cpu":1e400}}`, malformed, "malformed", "", []string{"number"}},
		{"the same, twice", mysqlPath, `{"parameters":{"max_connections":1e999,"max_connections":1e999}}`, malformed, "malformed", "", []string{"number"}},
		{"more than 1 MiB", mysqlPath, `{"name":"` + strings.Repeat("a", 1<<20) + `"}`, http.StatusRequestEntityTooLarge, "too_large", "", []string{"1 MiB"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			b := b.in(t)
			a := b.call("POST", s.path, s.body).is(s.status, s.code)
			if s.field != "" {
				a.field(s.field, s.says...)
			}
			for _, word := range s.says {
				if s.field == "" && !strings.Contains(a.text("detail"), word) {
					t.Errorf("%q does not say %q", a.text("detail"), word)
				}
			}
			for _, ours := range []string{"json: ", "Go value", "gorm", "SELECT", "unmarshal"} {
				if strings.Contains(a.body, ours) {
					t.Errorf("the answer shows our insides: %s", a.body)
				}
			}
			if after := b.rows(); after != before {
				t.Errorf("a refusal changed %v to %v", before, after)
			}
		})
	}
}

// Every wrong field is named, not only the first.
func TestCreateNamesEveryField(t *testing.T) {
	b := newBench(t)
	a := b.call("POST", mysqlPath, `{"name":"A","version":"0","plan":"x","parameters":{"charset":"x","foo":1},"labels":{"-":""},"callback_url":"x"}`).is(422, "invalid")
	for _, field := range []string{"name", "version", "plan", "parameters.charset", "parameters.foo", "labels.-", "callback_url"} {
		a.field(field)
	}
}

func TestCreateAccepted(t *testing.T) {
	b := newBench(t)
	for _, s := range []struct{ name, path, body, kind string }{
		{"nothing at all", mysqlPath, "", ""},
		{"as curl -X POST sends it", redisPath, "", "application/x-www-form-urlencoded"},
		{"an empty object", redisPath, "{}", "application/json"},
		{"as curl -d sends it", mysqlPath, `{"plan":"medium"}`, "application/x-www-form-urlencoded"},
		{"nulls are as if they were missing", redisPath, `{"name":null,"version":null,"plan":null,"resources":null,"parameters":null,"labels":null,"callback_url":null}`, "application/json"},
		{"everything", mysqlPath, `{"name":"all","version":"9.7","resources":{"cpu":0.5,"memory":"1gb","disk":10737418240},` +
			`"parameters":{"charset":"LATIN1","max_connections":50},"labels":{"team":"a","empty":""},"callback_url":"https://93.184.215.14/hook"}`, "application/json; charset=utf-8"},
	} {
		t.Run(s.name, func(t *testing.T) {
			b := b.in(t)
			a := b.call("POST", s.path, s.body, "Content-Type", s.kind).is(http.StatusAccepted, "")
			if a.text("instance.state") != "pending" || a.text("job.state") != "queued" || a.text("job.kind") != "instance.create" || a.text("instance.name") == "" {
				t.Errorf("%s", a.body)
			}
			if a.header.Get("Location") != "/api/v1/jobs/"+a.text("job.id") || a.header.Get("Retry-After") == "" {
				t.Errorf("headers %v", a.header)
			}
			if !strings.HasPrefix(a.text("webhook_secret"), "whsec_") {
				t.Error("no webhook secret")
			}
		})
	}
	b.work()
	b.call("GET", mysqlPath, "").is(200, "")
}

func TestWrongContentType(t *testing.T) {
	b := newBench(t)
	for _, kind := range []string{"text/plain", "application/xml", "multipart/form-data; boundary=x", "nonsense", "application/cbor"} {
		b.call("POST", mysqlPath, `{}`, "Content-Type", kind).is(http.StatusUnsupportedMediaType, "unsupported_media_type")
	}
}

// endless is a body without a length, and without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestEndlessBody(t *testing.T) {
	b := newBench(t)
	b.send("POST", mysqlPath, io.MultiReader(endless{}), "Authorization", "Bearer "+adminKey).is(http.StatusRequestEntityTooLarge, "too_large")
	// Without a key nothing of it is read.
	b.send("POST", mysqlPath, unreadable{t}).is(http.StatusUnauthorized, "unauthorized")
}

type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}
