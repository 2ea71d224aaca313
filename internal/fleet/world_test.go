package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/testenv"
)

var (
	binary string
	// breakable gives a berth that can be told to end itself at a step, which is built when it is first asked for.
	breakable     = sync.OnceValues(buildBreakable)
	repository, _ = filepath.Abs("../..")
	// long is the form of `make fleet`.
	long = os.Getenv("BERTH_FLEET_LONG") != ""
)

func TestMain(m *testing.M) {
	found, cleanUp, err := testenv.Binary(repository)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
	binary = found
	code := testenv.Run(m)
	cleanUp()
	cleanUpBreakable()
	os.Exit(code)
}

var cleanUpBreakable = func() {}

func buildBreakable() (path string, err error) {
	path, cleanUpBreakable, err = testenv.ChaosBinary(repository)
	return path, err
}

// pool is a deployment whose own machine takes nothing: what is placed is placed on the hosts of the
// pool.
type pool struct {
	*testing.T
	url, key string
	database string
	binary   string // of its workers
	settings []string
	api      *testenv.Process
	workers  []*testenv.Process
}

// object is a JSON object of the API.
type object map[string]any

func (o object) text(name string) string { s, _ := o[name].(string); return s }

func (o object) below(name string) object { m, _ := o[name].(map[string]any); return m }

func (o object) items() (list []object) {
	all, _ := o["items"].([]any)
	for _, i := range all {
		if m, ok := i.(map[string]any); ok {
			list = append(list, m)
		}
	}
	return list
}

// newPool starts Berth in its production shape with so many workers and further settings, and cordons
// their own host.
func newPool(t *testing.T, workers int, settings ...string) *pool {
	t.Helper()
	return newPoolOf(t, binary, workers, settings...)
}

func newPoolOf(t *testing.T, program string, workers int, settings ...string) *pool {
	t.Helper()
	addr, key := testenv.FreeAddress(t), rand.Text()+rand.Text()
	p := &pool{T: t, url: "http://" + addr, key: key, database: testenv.MySQL(t), binary: program}
	p.settings = append([]string{
		"BERTH_DATABASE_URL=" + p.database, "BERTH_REDIS_URL=" + testenv.Redis(t), "BERTH_HTTP_ADDR=" + addr, "BERTH_ADMIN_KEY=" + key,
		"BERTH_MASTER_KEY=" + base64.StdEncoding.EncodeToString([]byte(rand.Text() + rand.Text())[:32]), "BERTH_PORT_RANGE=" + testenv.PortRange(t, 200),
		"BERTH_WORKER_CONCURRENCY=4", "BERTH_LOG_FORMAT=json", "BERTH_LOG_LEVEL=debug", "BERTH_LEASE_TTL=10s", "BERTH_HOST_PLAIN_TCP=true",
		"BERTH_RECONCILE_EVERY=2s", "BERTH_RECONCILE_GRACE=15s",
	}, settings...) // the last of a name counts
	testenv.Start(t, binary, p.settings, "migrate").Finish(60 * time.Second)
	p.api = testenv.Start(t, binary, p.settings, "api")
	for range workers {
		p.startWorker()
	}
	var own object
	p.eventually("the workers' own host", 60*time.Second, func() error {
		list, err := p.try("GET", "/hosts", nil)
		if err != nil || len(list.items()) != 1 {
			return fmt.Errorf("%v, %w", list, err)
		}
		own = list.items()[0]
		return nil
	})
	p.do("POST", "/hosts/"+own.text("id")+"/cordon", nil, 200)
	p.do("POST", "/regions", object{"region": "eu", "zones": []string{"eu-1"}}, 201)
	return p
}

// startWorker starts one more worker, with these settings besides.
func (p *pool) startWorker(extra ...string) *testenv.Process {
	p.Helper()
	w := testenv.Start(p.T, p.binary, slices.Concat(p.settings, extra), "worker")
	p.workers = append(p.workers, w)
	return w
}

func (p *pool) eventually(what string, limit time.Duration, check func() error) {
	p.Helper()
	testenv.Eventually(p.T, what, limit, func(context.Context) error { return check() })
}

// ask makes a request with a JSON body, and gives status and answer.
func (p *pool) ask(method, path string, body any) (int, object, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	return p.answer(p.raw(method, path, "application/json", data))
}

func (p *pool) answer(status int, raw []byte, err error) (int, object, error) {
	var o object
	if err != nil || len(raw) == 0 {
		return status, o, err
	}
	err = json.Unmarshal(raw, &o)
	return status, o, err
}

// try makes a request that should succeed.
func (p *pool) try(method, path string, body any) (object, error) {
	status, o, err := p.ask(method, path, body)
	if err == nil && status >= 300 {
		err = fmt.Errorf("%s %s: %d: %v", method, path, status, o)
	}
	return o, err
}

// do makes a request that must be answered with the status.
func (p *pool) do(method, path string, body any, want int) object {
	p.Helper()
	status, o, err := p.ask(method, path, body)
	if err != nil || status != want {
		p.Fatalf("%s %s: %d, %v, %v, want %d", method, path, status, o, err, want)
	}
	return o
}

// refused makes a request that must be answered with the code.
func (p *pool) refused(method, path string, body any, code string) object {
	p.Helper()
	status, o, err := p.ask(method, path, body)
	if err != nil || status < 400 || o.text("code") != code {
		p.Fatalf("%s %s: %d, %v, %v, want %s", method, path, status, o, err, code)
	}
	return o
}

// raw makes a request, and gives the answer as it is.
func (p *pool) raw(method, path, kind string, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(p.Context(), 90*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, p.url+"/api/v1"+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+p.key)
	if body != nil {
		r.Header.Set("Content-Type", kind)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer a.Body.Close() //nolint:errcheck // it was read
	data, err := io.ReadAll(a.Body)
	return a.StatusCode, data, err
}

// ended waits for a job, and gives it.
func (p *pool) ended(id string, limit time.Duration) object {
	p.Helper()
	for until := time.Now().Add(limit); ; {
		j := p.do("GET", "/jobs/"+id+"?wait=20s", nil, 200)
		switch state := j.text("state"); {
		case state == "succeeded" || state == "failed" || state == "canceled":
			return j
		case time.Now().After(until):
			p.Fatalf("job %s is %s: %v", id, state, j["steps"])
		}
	}
}

// succeeded waits for a job that must succeed.
func (p *pool) succeeded(id string, limit time.Duration) object {
	p.Helper()
	j := p.ended(id, limit)
	if j.text("state") != "succeeded" {
		p.Fatalf("job %s (%s) is %s: %v, %v", id, j.text("kind"), j.text("state"), j["error"], j["steps"])
	}
	return j
}

// host gives the host of the name; nil: there is none.
func (p *pool) host(name string) object {
	p.Helper()
	list := p.do("GET", "/hosts?name="+name, nil, 200).items()
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// imports sends hosts as a sheet, and waits until their import has ended.
func (p *pool) imports(query, sheet string, limit time.Duration) object {
	p.Helper()
	status, o, err := p.answer(p.raw("POST", "/hosts/import"+query, "text/csv", []byte(sheet)))
	if err != nil || status != 202 {
		p.Fatalf("the import is answered %d, %v, %v", status, o, err)
	}
	return p.ended(o.below("job").text("id"), limit)
}

const header = "Host Name,IP,Login UserName,Login Password,RegionID,ZoneID,RackID,Arch,OS Version,Kernel,CpuCores,Memory,Nic,Cluster Purpose,Component Purpose,Disk Type,Disks,Endpoint\n"

// row is a line of the sheet for a host of the test bed, in a rack of its own.
func row(h testenv.FleetHost, rack string) string {
	return fmt.Sprintf("%s,%s,,,eu,eu-1,%s,,,,,,,,,,,%s\n", h.Name, h.Address, rack, h.Endpoint)
}

// machineRow is a line for a bare machine.
func machineRow(m testenv.BareMachine, name, password string) string {
	return fmt.Sprintf("%s,%s,%s,%s,eu,eu-1,r9,,,,,,,,,,,\n", name, m.Address, m.User, password)
}

// creates asks for a Redis, waits for it, and gives it with its host's address.
func (p *pool) creates(name string, placement object) object {
	p.Helper()
	a := p.do("POST", "/storage/redis/instances", object{"name": name, "placement": placement}, 202)
	p.succeeded(a.below("job").text("id"), 3*time.Minute)
	return p.do("GET", "/storage/instances/"+a.below("instance").text("id"), nil, 200)
}

// uses writes to a Redis with its tenant's credentials.
func (p *pool) uses(instance object) {
	p.Helper()
	p.redis(instance, func(ctx context.Context, c *redis.Client) error { return c.Set(ctx, "k", "v", 0).Err() })
}

// reads reads from a Redis what uses has written.
func (p *pool) reads(instance object) {
	p.Helper()
	p.redis(instance, func(ctx context.Context, c *redis.Client) error {
		got, err := c.Get(ctx, "k").Result()
		if err == nil && got != "v" {
			err = fmt.Errorf("it has %q", got)
		}
		return err
	})
}

func (p *pool) redis(instance object, do func(context.Context, *redis.Client) error) {
	p.Helper()
	config := p.do("GET", "/storage/redis/instances/"+instance.text("id")+"/config", nil, 200)
	options, err := redis.ParseURL(config.text("uri"))
	if err != nil {
		p.Fatalf("the URI: %v", err)
	}
	options.ContextTimeoutEnabled = true
	c := redis.NewClient(options)
	defer c.Close() //nolint:errcheck // nothing depends on it
	ctx, cancel := context.WithTimeout(p.Context(), 20*time.Second)
	defer cancel()
	if err := do(ctx, c); err != nil {
		p.Fatalf("use %s: %v", instance.text("name"), err)
	}
}

// nowhere fails where the text is in a log of a process, or in a row of the database.
func (p *pool) nowhere(what string, texts ...string) {
	p.Helper()
	rows := testenv.OpenDatabase(p.T, p.database)
	dump := p.dump(rows)
	for _, text := range texts {
		if strings.Contains(dump, text) {
			p.Errorf("%s is in the database", what)
		}
		for _, process := range append(p.workers, p.api) {
			if strings.Contains(process.Log(), text) {
				p.Errorf("%s is in the log of %s", what, process.Name())
			}
		}
	}
}

// dump gives every value of every table.
func (p *pool) dump(db *sql.DB) string {
	p.Helper()
	var out strings.Builder
	for _, table := range p.column(db, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()") {
		rows, err := db.QueryContext(p.Context(), "SELECT * FROM `"+table+"`") //nolint:gosec // a name of the schema
		if err != nil {
			p.Fatal(err)
		}
		names, err := rows.Columns()
		if err != nil {
			p.Fatal(err)
		}
		values, into := make([]sql.RawBytes, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				p.Fatal(err)
			}
			for _, v := range values {
				out.Write(v)
				out.WriteByte('\n')
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			p.Fatal(err)
		}
	}
	return out.String()
}

func (p *pool) column(db *sql.DB, query string) (values []string) {
	p.Helper()
	rows, err := db.QueryContext(p.Context(), query)
	if err != nil {
		p.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // Err says it
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			p.Fatal(err)
		}
		values = append(values, v)
	}
	if err := rows.Err(); err != nil {
		p.Fatal(err)
	}
	return values
}

// books fails unless what is used of each host and disk is the sum of the allocations, and no more
// than there is.
func (p *pool) books() {
	p.Helper()
	wrong, err := testenv.WrongBooks(p.Context(), testenv.OpenDatabase(p.T, p.database))
	if err != nil || len(wrong) > 0 {
		p.Errorf("the books are wrong: %v, %v", wrong, err)
	}
}
