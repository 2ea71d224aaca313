package tenant_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/store"
	"github.com/berth-project/berth/internal/storetest"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

// passwords hash nothing, and count what they are asked.
type passwords struct {
	mu      sync.Mutex
	made    string // prefix of today's hashes
	hashes  int
	verifys []string // the hashes that were compared with
}

func (p *passwords) Hash(_ context.Context, password string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hashes++
	return p.made + password, nil
}

func (p *passwords) Verify(_ context.Context, password, hash string) (right, stale bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.verifys = append(p.verifys, hash)
	_, was, _ := strings.Cut(hash, ":")
	return hash != "" && was == password, !strings.HasPrefix(hash, p.made), nil
}

// office is the room on a real store, with a clock of its own.
type office struct {
	*testing.T
	now       time.Time
	passwords *passwords
	accounts  *tenant.Accounts
	members   *tenant.Members
	tenants   *tenant.Tenants
	grants    *tenant.Grants
	callers   *tenant.Authenticator
	store     tenant.Store
}

const (
	pass = "correct horse battery"
	home = "203.0.113.7"
)

var admin = tenant.Principal{Tenant: tenant.Default, Role: tenant.Owner, Operator: true, Name: "the admin key"}

// visitor returns somebody who is not known, at the address.
func visitor(address string) tenant.Principal {
	return tenant.Principal{Name: "somebody", From: tenant.Origin{Address: address}}
}

func newOffice(t *testing.T) *office {
	t.Helper()
	return officeOn(t, storetest.SQLite(t))
}

// onBoth runs a test of what happens at once on each database: SQLite has one writer, MySQL many.
func onBoth(t *testing.T, run func(*office)) {
	t.Run("sqlite", func(t *testing.T) { run(newOffice(t)) })
	t.Run("mysql", func(t *testing.T) {
		s, err := store.Open(testenv.MySQL(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		if err := s.Migrate(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		run(officeOn(t, s))
	})
}

func officeOn(t *testing.T, on *store.Store) *office {
	t.Helper()
	vault, err := secret.NewKeyring(secret.MasterKey())
	if err != nil {
		t.Fatal(err)
	}
	o := &office{T: t, now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), passwords: &passwords{made: "v1:"}, store: rooms.Tenants(on)}
	clock := func() time.Time { return o.now }
	cfg := tenant.Config{Store: o.store, Vault: vault, NewID: id.NewSource().New, Now: clock, CheckLabels: func(map[string]string) []fault.FieldError { return nil }}
	terms := tenant.SessionTerms{Idle: time.Hour, MaxAge: 24 * time.Hour}
	o.accounts = tenant.NewAccounts(tenant.AccountConfig{Config: cfg, Passwords: o.passwords, SignUp: tenant.SignUpOpen, Terms: terms})
	o.members, o.tenants, o.grants = tenant.NewMembers(cfg), tenant.NewTenants(cfg), tenant.NewGrants(cfg)
	o.callers = &tenant.Authenticator{Store: o.store, Now: clock, Log: slog.New(slog.DiscardHandler), Terms: terms}
	return o
}

func (o *office) ok(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

func (o *office) code(err error, want fault.Code) {
	o.Helper()
	if err == nil || fault.CodeOf(err) != want {
		o.Errorf("got %v, want %s", err, want)
	}
}

func (o *office) tenant(name string) tenant.ID {
	o.Helper()
	t, _, err := o.tenants.CreateTenant(o.Context(), admin, name, nil)
	o.ok(err)
	return t.ID
}

func (o *office) user(login string, of tenant.ID, role tenant.Role) tenant.User {
	o.Helper()
	u, err := o.accounts.CreateUser(o.Context(), admin, tenant.UserRequest{Login: login, Password: pass, Tenant: of, Role: role})
	o.ok(err)
	return u
}

func (o *office) login(login, password string) (string, error) {
	_, token, err := o.accounts.LogIn(o.Context(), visitor(home), tenant.LogInRequest{Login: login, Password: password})
	return token.Reveal(), err
}

// as returns who a user is after a log-in, and the token.
func (o *office) as(login string) (tenant.Principal, string) {
	o.Helper()
	token, err := o.login(login, pass)
	o.ok(err)
	p, err := o.callers.BySession(o.Context(), token)
	o.ok(err)
	return p, token
}
