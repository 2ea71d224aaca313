package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"

	"github.com/berth-project/berth/api"
	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/bell/belltest"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/engine"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/password"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/sender"
	"github.com/berth-project/berth/internal/sheet"
	"github.com/berth-project/berth/internal/store"
	"github.com/berth-project/berth/internal/storetest"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

const adminKey = "berth_the-admin-key-of-the-tests"

// bench is the API before a database, with everything behind it faked.
type bench struct {
	*testing.T
	*behind
	handler http.Handler
}

// behind is what the views of one bench share.
type behind struct {
	config   api.Config // of the handler
	tenants  tenant.Config
	users    int // made by this test
	store    *store.Store
	down     atomic.Bool // the database, as the API sees it
	txDown   atomic.Bool // only its transactions
	hold     atomic.Pointer[chan struct{}]
	held     chan struct{}
	queue    *belltest.Queue
	runtime  *hosttest.Runtime
	machines *hosttest.Machines
	runner   *job.Runner
	vault    *secret.Keyring
	host     host.Host
	events   atomic.Int64 // made up by say
	log      *testenv.Log
	fences   fences

	mu   sync.Mutex
	seen []string // every answer's body but those that may hold secrets
	keys []string // every API key that was made
}

// cheapPasswords are hashed in no time.
var cheapPasswords = argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}

var defaultTerms = tenant.SessionTerms{Idle: tenant.DefaultSessionIdle, MaxAge: tenant.DefaultSessionMaxAge}

func accountsOf(tenants tenant.Config) tenant.AccountConfig {
	return tenant.AccountConfig{Config: tenants, Passwords: password.New(cheapPasswords), SignUp: tenant.SignUpOpen, Terms: defaultTerms}
}

func newBench(t *testing.T, change ...func(*api.Config)) *bench {
	t.Helper()
	behind, handler := newBehind(t, false, change...)
	b := &bench{T: t, behind: behind, handler: handler}
	b.setPorts(20000, 20999)
	t.Cleanup(b.noSecrets)
	return b
}

// newBehind makes what a bench is of. Where callbacks may go to private addresses, no name
// is looked up.
func newBehind(t testing.TB, private bool, change ...func(*api.Config)) (*behind, http.Handler) {
	t.Helper()
	vault, err := secret.NewKeyring(secret.MasterKey())
	if err != nil {
		t.Fatal(err)
	}
	b := &behind{
		store: storetest.SQLite(t), queue: belltest.NewQueue(), runtime: hosttest.NewRuntime("dep"), machines: hosttest.NewMachines(), vault: vault,
		log: &testenv.Log{}, held: make(chan struct{}, 10),
	}
	log := slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	newID := id.NewSource().New
	catalog := instancetest.FakeServers(engine.Catalog(engine.Config{}), b.runtime)
	sender := sender.New(private, clock.System)
	t.Cleanup(sender.Close)
	seenStore := &benchStore{b.store, b}
	tenants := tenant.Config{Store: rooms.Tenants(seenStore), Vault: vault, NewID: newID, Now: clock.System, Engines: catalog.Names(), CheckLabels: instance.CheckLabels}
	quotas := rooms.NewQuotas(seenStore, newID, clock.System, nil)
	b.tenants = tenants
	cfg := api.Config{
		Quotas: quotas,
		Service: rooms.NewService(rooms.ServiceConfig{
			Quotas: quotas,
			Store:  seenStore, Queue: b.queue, Ports: hosttest.Ports{Store: rooms.Hosts(seenStore), Now: clock.System}, Vault: vault,
			Secrets: secret.Random{}, Sender: sender, Catalog: catalog, NewID: newID, Log: log,
		}),
		Tenants: tenant.NewTenants(tenants), Keys: tenant.NewKeys(tenants),
		Accounts: tenant.NewAccounts(accountsOf(tenants)),
		Members:  tenant.NewMembers(tenants),
		Grants:   tenant.NewGrants(tenants),
		Audit:    &audit.Log{Store: rooms.Audit(seenStore), Auditor: tenant.Auditor{NewID: newID, Now: clock.System}},
		Callers:  &tenant.Authenticator{Store: tenants.Store, Now: clock.System, Log: log, Terms: defaultTerms},
		AdminKey: secret.New(adminKey), Log: log, Version: "test", Stopping: t.Context(),
		Checks: map[string]func(context.Context) error{"database": func(ctx context.Context) error {
			if b.down.Load() {
				return errors.New("down")
			}
			return b.store.Ping(ctx)
		}},
	}
	cfg.Hosts = host.NewService(host.ServiceConfig{
		Store: rooms.Hosts(seenStore), Answers: seenStore, Jobs: cfg.Service.JobEngine(), Ports: hosttest.Ports{Store: rooms.Hosts(seenStore), Now: clock.System},
		Vault: vault, NewID: newID, Log: log, Evict: cfg.Service.Evict,
		Access: &host.Access{Store: rooms.Hosts(seenStore), Vault: vault, Machines: b.machines, Deployment: "dep"},
	})
	cfg.Sheets = sheets{}
	for _, c := range change {
		c(&cfg)
	}
	handler := api.New(cfg)
	b.config = cfg
	b.runner = rooms.NewRunner(rooms.RunnerConfig{
		Store: b.store, Queue: b.queue, Ports: hosttest.Ports{Store: rooms.Hosts(b.store), Now: clock.System}, Runtimes: hosttest.NewRuntimes(b.runtime),
		Vault: vault, Catalog: catalog, NewID: newID, Log: log, Owner: "w1", Adapters: hosttest.NewRuntimes(b.runtime), Machines: b.machines,
		Access: &host.Access{Store: rooms.Hosts(b.store), Vault: vault, Machines: b.machines, Deployment: "dep"},
	})
	return b, handler
}

// sheets reads files as the program does.
type sheets struct{}

func (sheets) Read(r io.Reader, name string) ([]host.Candidate, []fault.FieldError, error) {
	return sheet.Read(r, name)
}

func (sheets) Template(format string) ([]byte, error) { return sheet.Template(format) }

// process gives the bench of another process of the same API.
func (b *bench) process(change ...func(*tenant.AccountConfig)) *bench {
	cfg, accounts := b.config, accountsOf(b.tenants)
	for _, c := range change {
		c(&accounts)
	}
	cfg.Callers = &tenant.Authenticator{Store: b.tenants.Store, Now: clock.System, Log: cfg.Log, Terms: accounts.Terms}
	cfg.Accounts = tenant.NewAccounts(accounts)
	return &bench{T: b.T, behind: b.behind, handler: api.New(cfg)}
}

// in gives the bench for a subtest.
func (b *bench) in(t *testing.T) *bench { return &bench{T: t, behind: b.behind, handler: b.handler} }

func (b *bench) setPorts(low, high int) {
	b.Helper()
	err := b.store.Tx(b.Context(), func(tx rooms.Tx) error {
		var err error
		b.host, err = tx.PutHost(host.Host{ID: "hst_1", Name: "local", Advertise: "127.0.0.1", Bind: "127.0.0.1", PortLow: low, PortHigh: high})
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}

// work runs what the queue holds.
func (b *bench) work() {
	b.Helper()
	for _, task := range b.queue.Take() {
		if task.Pool == bell.PoolWebhooks {
			continue
		}
		if err := b.runner.Run(b.Context(), id.Job(task.ID)); err != nil {
			b.Fatal(err)
		}
	}
}

// benchStore is the database as the API sees it: it can be down, or slow.
type benchStore struct {
	rooms.Store
	b *behind
}

var errDown = fault.Errorf(fault.CodeUnavailable, errors.New("connection refused"), "the database does not answer; try again in a moment")

func (s *benchStore) Tx(ctx context.Context, do func(rooms.Tx) error) error {
	if s.b.down.Load() || s.b.txDown.Load() {
		return errDown
	}
	if hold := s.b.hold.Load(); hold != nil {
		s.b.held <- struct{}{}
		<-*hold
	}
	s.b.fences.note(ctx, "Tx")
	if of, fenced := tenant.Fence(ctx); fenced && s.b.fences.isBlind() {
		return s.Store.Tx(ctx, func(tx rooms.Tx) error { return do(blindTx{tx, of}) })
	}
	return s.Store.Tx(ctx, do)
}

func (s *benchStore) Instance(ctx context.Context, id instance.ID) (instance.Instance, error) {
	if s.b.down.Load() {
		return instance.Instance{}, errDown
	}
	s.b.fences.note(ctx, "Instance")
	i, err := s.Store.Instance(ctx, id)
	s.b.fences.owned(ctx, &i.Tenant)
	return i, err
}

func (s *benchStore) Instances(ctx context.Context, f instance.Filter, p page.Page) ([]instance.Instance, error) {
	if s.b.down.Load() {
		return nil, errDown
	}
	s.b.fences.note(ctx, "Instances")
	return s.Store.Instances(ctx, f, p)
}

func (s *benchStore) Job(ctx context.Context, id id.Job) (job.Job, error) {
	if s.b.down.Load() {
		return job.Job{}, errDown
	}
	s.b.fences.note(ctx, "Job")
	j, err := s.Store.Job(ctx, id)
	s.b.fences.owned(ctx, &j.Tenant)
	return j, err
}

func (s *benchStore) Jobs(ctx context.Context, f job.Filter, p page.Page) ([]job.Job, error) {
	if s.b.down.Load() {
		return nil, errDown
	}
	s.b.fences.note(ctx, "Jobs")
	return s.Store.Jobs(ctx, f, p)
}

func (s *benchStore) KeyByHash(ctx context.Context, hash string) (tenant.Key, error) {
	if s.b.down.Load() {
		return tenant.Key{}, errDown
	}
	return s.Store.KeyByHash(ctx, hash)
}

func (s *benchStore) Hosts(ctx context.Context) ([]host.Host, error) {
	if s.b.down.Load() {
		return nil, errDown
	}
	return s.Store.Hosts(ctx)
}

// answer is what came back.
type answer struct {
	*testing.T
	status int
	header http.Header
	body   string
	json   map[string]any // where it is an object
	head   bool           // it has no body
}

// call sends a request with the key; headers come as name, value, name, value.
func (b *bench) call(method, path, body string, headers ...string) answer {
	b.Helper()
	return b.send(method, path, strings.NewReader(body), append([]string{"Authorization", "Bearer " + adminKey, "Content-Type", "application/json"}, headers...)...)
}

func (b *bench) send(method, path string, body io.Reader, headers ...string) answer {
	b.Helper()
	r := httptest.NewRequestWithContext(b.Context(), method, path, body)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
		}
	}
	recorder := httptest.NewRecorder()
	b.handler.ServeHTTP(recorder, r)
	a := decoded(b.T, recorder)
	if a.status >= http.StatusInternalServerError && a.status != http.StatusServiceUnavailable {
		b.Errorf("%s %s: %d %s\n%s", method, path, a.status, a.body, b.log)
	}
	a.wellTyped(method + " " + path)
	key, _ := a.json["key"].(string)
	if token, _ := a.json["token"].(string); token != "" {
		key = token
	}
	if key != "" {
		b.mu.Lock()
		b.keys = append(b.keys, key)
		b.mu.Unlock()
	} else if !strings.HasSuffix(path, "/config") && a.json["webhook_secret"] == nil {
		b.mu.Lock()
		b.seen = append(b.seen, a.body)
		b.mu.Unlock()
	}
	return a
}

func decoded(t *testing.T, recorder *httptest.ResponseRecorder) answer {
	a := answer{T: t, status: recorder.Code, header: recorder.Header(), body: recorder.Body.String()}
	_ = json.Unmarshal(recorder.Body.Bytes(), &a.json) // not every answer is an object
	return a
}

// wellTyped checks what holds for every answer: its type, and the form of a problem.
func (a answer) wellTyped(what string) {
	a.Helper()
	kind := a.header.Get("Content-Type")
	switch {
	case a.status == http.StatusNoContent && kind == "" && a.body == "":
		return
	case strings.HasPrefix(kind, "text/html") && strings.HasSuffix(what, "/"), strings.Contains(what, " /queues"), strings.Contains(what, " /debug/pprof"), strings.Contains(what, " /docs"), strings.Contains(what, "/hosts/template.") && a.status == http.StatusOK, strings.Contains(what, "OPTIONS "), strings.Contains(what, " /openapi"), strings.Contains(what, "HEAD "):
		return
	case a.status < http.StatusBadRequest || strings.Contains(what, "/readyz"):
		if !strings.HasPrefix(kind, "application/json") {
			a.Errorf("%s: %d with content type %q", what, a.status, kind)
		}
		return
	case kind != "application/problem+json":
		a.Errorf("%s: %d with content type %q: %s", what, a.status, kind, a.body)
	}
	if a.json["status"] != float64(a.status) || a.json["title"] != http.StatusText(a.status) || a.json["type"] != "about:blank" || a.text("code") == "" || a.text("detail") == "" {
		a.Errorf("%s: not a problem: %s", what, a.body)
	}
	if a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Cache-Control") != "no-store" {
		a.Errorf("%s: headers %v", what, a.header)
	}
}

// unnamed gives the body without what differs from request to request: its id.
func (a answer) unnamed() string {
	return strings.ReplaceAll(a.body, a.header.Get("X-Request-Id"), "REQUEST")
}

// text gives a string of the answer: "instance.id".
func (a answer) text(path string) string {
	var v any = a.json
	for _, name := range strings.Split(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = m[name]
	}
	s, _ := v.(string)
	return s
}

// is checks status and, of a problem, the code.
func (a answer) is(status int, code string) answer {
	a.Helper()
	if a.status != status || code != "" && a.text("code") != code {
		a.Errorf("got %d, want %d %s: %s", a.status, status, code, a.body)
	}
	return a
}

// field checks that a problem names the field and says the words.
func (a answer) field(name string, says ...string) answer {
	a.Helper()
	list, _ := a.json["errors"].([]any)
	for _, e := range list {
		m, _ := e.(map[string]any)
		if m["field"] != name {
			continue
		}
		message, _ := m["message"].(string)
		for _, word := range says {
			if !strings.Contains(message, word) {
				a.Errorf("field %s: %q does not say %q", name, message, word)
			}
		}
		return a
	}
	a.Errorf("no field %q in %s", name, a.body)
	return a
}

// made gives an instance that runs.
func (b *bench) made(engine, body string) (instance, job string) {
	b.Helper()
	a := b.call("POST", "/api/v1/storage/"+engine+"/instances", body).is(http.StatusAccepted, "")
	b.work()
	if got := b.call("GET", "/api/v1/jobs/"+a.text("job.id"), ""); got.text("state") != "succeeded" {
		b.Fatalf("job: %s", got.body)
	}
	return a.text("instance.id"), a.text("job.id")
}

// rows gives how much the database holds, to see that a refusal changed nothing.
func (b *bench) rows() [2]int {
	b.Helper()
	ctx := context.WithoutCancel(b.Context())
	instances, err1 := b.store.Instances(ctx, instance.Filter{Tenant: tenant.Default, Deleted: true}, page.Page{Limit: 1000})
	jobs, err2 := b.store.Jobs(ctx, job.Filter{Tenant: tenant.Default}, page.Page{Limit: 1000})
	if err := errors.Join(err1, err2); err != nil {
		b.Fatal(err)
	}
	return [2]int{len(instances), len(jobs)}
}

// noSecrets checks every answer and the whole log for every secret there is.
func (b *bench) noSecrets() {
	ctx := context.WithoutCancel(b.Context())
	tenants, err := b.store.Tenants(ctx, page.Page{Limit: 1000})
	if err != nil {
		b.Error(err)
	}
	var instances []instance.Instance
	for _, t := range tenants {
		some, err := b.store.Instances(ctx, instance.Filter{Tenant: t.ID}, page.Page{Limit: 1000})
		if err != nil {
			b.Error(err)
		}
		instances = append(instances, some...)
	}
	secrets := append([]string{adminKey, machinePassword}, b.keys...)
	for _, inst := range instances {
		sealed, err := b.store.Credentials(ctx, inst.ID)
		if err != nil {
			b.Error(err)
			continue
		}
		creds, err := instance.OpenCredentials(b.vault, inst.ID, sealed)
		if err != nil {
			b.Error(err)
		}
		for _, s := range []secret.Secret{creds.Password, creds.AdminPassword, creds.CallbackSecret} {
			if !s.Empty() {
				secrets = append(secrets, s.Reveal())
			}
		}
	}
	text := b.log.String() + strings.Join(b.seen, "\n")
	for _, s := range secrets {
		if i := strings.Index(text, s); i >= 0 {
			b.Errorf("a secret was shown: …%s…", text[max(0, i-200):i])
		}
	}
}

// soon is a generous bound on what should take no time.
const soon = 10 * time.Second
