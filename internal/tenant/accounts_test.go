package tenant_test

import (
	"context"
	"errors"
	"fmt"
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
	callers   *tenant.Authenticator
	store     tenant.Store
}

const (
	pass = "correct horse battery"
	home = "203.0.113.7"
)

var admin = tenant.Principal{Tenant: tenant.Default, Role: tenant.Owner, Operator: true, Name: "the admin key"}

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
	o.members, o.tenants = tenant.NewMembers(cfg), tenant.NewTenants(cfg)
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
	_, token, err := o.accounts.LogIn(o.Context(), tenant.LogInRequest{Login: login, Password: password, Address: home})
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

// TestSessionEnds: by idle time, by age, and not by waiting alone; a clock that was put back
// makes no session last longer than the difference.
func TestSessionEnds(t *testing.T) {
	o := newOffice(t)
	o.user("alice", o.tenant("one"), tenant.Owner)
	open := func(token string, want bool) {
		t.Helper()
		_, err := o.callers.BySession(t.Context(), token)
		if (err == nil) != want || err != nil && fault.CodeOf(err) != fault.CodeUnauthorized {
			t.Errorf("at %s: %v", o.now, err)
		}
	}
	begun := o.now
	_, token := o.as("alice")
	for o.now = begun; o.now.Before(begun.Add(23*time.Hour + 59*time.Minute)); o.now = o.now.Add(59 * time.Minute) {
		open(token, true)
	}
	o.now = begun.Add(24*time.Hour - time.Millisecond)
	open(token, true)
	o.now = begun.Add(24 * time.Hour)
	open(token, false)
	o.now = begun
	open(token, true) // it is there, and the clock says that it is young
	o.now = begun.Add(24 * time.Hour)
	open(token, false)

	begun = o.now
	_, token = o.as("alice")
	o.now = begun.Add(time.Hour - time.Millisecond)
	_, err := o.callers.StillBySession(t.Context(), token) // a stream is no use
	o.ok(err)
	o.now = begun.Add(time.Hour)
	open(token, false)
	_, err = o.callers.StillBySession(t.Context(), token)
	o.code(err, fault.CodeUnauthorized)
}

// TestUseIsNotedOnceAMinute: a session costs no write for each request.
func TestUseIsNotedOnceAMinute(t *testing.T) {
	o := newOffice(t)
	o.user("alice", o.tenant("one"), tenant.Owner)
	_, token := o.as("alice")
	used := func() time.Time {
		l, err := o.store.LoginByHash(t.Context(), tenant.HashToken(token))
		o.ok(err)
		return l.UsedAt
	}
	begun := o.now
	for _, step := range []struct{ after, want time.Duration }{{59 * time.Second, 0}, {time.Minute, time.Minute}, {90 * time.Second, time.Minute}, {2 * time.Minute, 2 * time.Minute}} {
		o.now = begun.Add(step.after)
		for range 3 {
			_, err := o.callers.BySession(t.Context(), token)
			o.ok(err)
		}
		if got := used().Sub(begun); got != step.want {
			t.Errorf("after %s: used at %s", step.after, got)
		}
	}
}

// TestWorkIsTheSame: whoever logs in wrongly costs one comparison, whether they are there or not.
func TestWorkIsTheSame(t *testing.T) {
	o := newOffice(t)
	off := o.user("off", "", "")
	o.user("alice", "", "")
	yes := true
	_, err := o.accounts.ChangeUser(t.Context(), admin, off.ID, tenant.UserChange{Disabled: &yes})
	o.ok(err)
	o.passwords.hashes = 0
	want := ""
	for i, try := range [][2]string{{"alice", "wrong"}, {"nobody", "wrong"}, {"off", pass}, {"off", "wrong"}, {"n o", "wrong"}} {
		o.passwords.verifys = nil
		_, err := o.login(try[0], try[1])
		o.code(err, fault.CodeUnauthorized)
		if i == 0 {
			want = err.Error()
		}
		if err.Error() != want || len(o.passwords.verifys) != 1 || o.passwords.hashes != 0 {
			t.Errorf("%v: %v, %d comparisons, %d hashes", try, err, len(o.passwords.verifys), o.passwords.hashes)
		}
	}
}

// TestRehash: a hash of other parameters is made anew at the next log-in, once.
func TestRehash(t *testing.T) {
	o := newOffice(t)
	u := o.user("alice", "", "")
	o.passwords.made = "v2:"
	for range 2 {
		_, err := o.login("alice", pass)
		o.ok(err)
	}
	u, err := o.store.User(t.Context(), u.ID)
	o.ok(err)
	if u.PasswordHash != "v2:"+pass || o.passwords.hashes != 2 {
		t.Errorf("%q after %d hashes", u.PasswordHash, o.passwords.hashes)
	}
}

// TestThrottle: the pauses double, end by themselves, and are the guesser's alone.
func TestThrottle(t *testing.T) {
	o := newOffice(t)
	o.user("alice", "", "")
	from := func(address, password string) (wait time.Duration) {
		t.Helper()
		_, _, err := o.accounts.LogIn(t.Context(), tenant.LogInRequest{Login: "alice", Password: password, Address: address})
		var e *fault.Error
		if errors.As(err, &e) && e.Code == fault.CodeTooManyRequests {
			return e.RetryAfter
		}
		return 0
	}
	for range 5 {
		from(home, "wrong")
	}
	longest := time.Duration(0)
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256} {
		wait := from(home, pass)
		if wait != want*time.Second {
			t.Errorf("a pause of %s, want %ds", wait, want)
		}
		if again := from(home, pass); again != wait { // asking makes it no longer
			t.Errorf("then of %s", again)
		}
		o.now = o.now.Add(wait)
		from(home, "wrong")
		longest = max(longest, wait)
	}
	if from("198.51.100.1", pass) != 0 {
		t.Error("the user is locked out elsewhere")
	}
	for range 200 {
		wait := from(home, "wrong")
		longest = max(longest, wait)
		o.now = o.now.Add(wait)
	}
	if longest > 15*time.Minute {
		t.Errorf("a pause of %s", longest)
	}
	o.now = o.now.Add(15 * time.Minute)
	if from(home, pass) != 0 || from(home, "wrong") != 0 || from(home, pass) != 0 {
		t.Error("a log-in does not end it")
	}
	for range 6 {
		from(home, "wrong")
	}
	o.now = o.now.Add(-48 * time.Hour)
	if from(home, pass) != 0 {
		t.Error("a clock that was put back locks out")
	}
}

// TestThrottleOfAnAddress: one that tries many accounts waits, by its /64 where it has one;
// others do not.
func TestThrottleOfAnAddress(t *testing.T) {
	o := newOffice(t)
	o.user("alice", "", "")
	try := func(login, address string) error {
		_, _, err := o.accounts.LogIn(t.Context(), tenant.LogInRequest{Login: login, Password: pass, Address: address})
		return err
	}
	for i := range 50 {
		o.code(try(fmt.Sprint("guess-", i), fmt.Sprintf("2001:db8::%x", i)), fault.CodeUnauthorized)
	}
	o.code(try("alice", "2001:db8::ffff"), fault.CodeTooManyRequests)
	o.ok(try("alice", "2001:db8:0:1::1"))
	o.now = o.now.Add(5 * time.Minute)
	o.ok(try("alice", "2001:db8::ffff"))
}

// TestGuessesAtOnce: of many at once no more are compared than one after the other.
func TestGuessesAtOnce(t *testing.T) { onBoth(t, guessesAtOnce) }

func guessesAtOnce(o *office) {
	t := o.T
	o.user("alice", "", "")
	testenv.Together(40, func(int) error {
		_, err := o.login("alice", "wrong")
		return err
	})
	if n := len(o.passwords.verifys); n != 5 {
		t.Errorf("%d guesses were compared", n)
	}
}

// TestLastOwner: of two owners who remove or demote each other at once, one stays.
func TestLastOwner(t *testing.T) { onBoth(t, lastOwner) }

func lastOwner(o *office) {
	t := o.T
	one := o.tenant("one")
	for round := range 6 {
		a, b := o.user(fmt.Sprint("a", round), one, tenant.Owner), o.user(fmt.Sprint("b", round), one, tenant.Owner)
		pa, _ := o.as(a.Login)
		pb, _ := o.as(b.Login)
		act := func(p tenant.Principal, other tenant.UserID) error {
			if round%2 == 0 {
				return o.members.RemoveMember(t.Context(), p, one, other)
			}
			_, err := o.members.ChangeRole(t.Context(), p, one, other, tenant.Viewer)
			return err
		}
		errs := testenv.Together(2, func(i int) error {
			if i == 0 {
				return act(pa, b.ID)
			}
			return act(pb, a.ID)
		})
		if errs[0] == nil && errs[1] == nil {
			t.Errorf("round %d: both have gone", round)
		}
		for _, u := range []tenant.User{a, b} {
			m, err := o.store.Membership(t.Context(), one, u.ID)
			if err != nil || m.Role != tenant.Owner {
				continue
			}
			p, _ := o.as(u.Login)
			if errs[0] != nil && errs[1] != nil {
				t.Errorf("round %d: %v", round, errs)
			}
			o.code(o.members.RemoveMember(t.Context(), p, one, u.ID), fault.CodeInvalid)
			_, err = o.members.ChangeRole(t.Context(), p, one, u.ID, tenant.Member)
			o.code(err, fault.CodeInvalid)
			o.ok(o.members.RemoveMember(t.Context(), admin, one, u.ID)) // operators may
		}
	}
	// An owner who is disabled does not count.
	a, b := o.user("a", one, tenant.Owner), o.user("b", one, tenant.Owner)
	yes := true
	_, err := o.accounts.ChangeUser(t.Context(), admin, b.ID, tenant.UserChange{Disabled: &yes})
	o.ok(err)
	p, _ := o.as("a")
	o.code(o.members.RemoveMember(t.Context(), p, one, a.ID), fault.CodeInvalid)
}

// TestResetByAnOwner: an owner takes over no account that opens more than their tenant, also
// where it comes to do so after the token was made.
func TestResetByAnOwner(t *testing.T) { onBoth(t, resetByAnOwner) }

func resetByAnOwner(o *office) {
	t := o.T
	one, other := o.tenant("one"), o.tenant("other")
	o.user("owner", one, tenant.Owner)
	owner, _ := o.as("owner")
	reset := func(p tenant.Principal, who tenant.UserID) (string, error) {
		_, token, _, err := o.accounts.MakeReset(t.Context(), p, tenant.ResetRequest{User: who}, nil)
		return token.Reveal(), err
	}
	makes := func(who tenant.UserID) string {
		t.Helper()
		token, err := reset(owner, who)
		o.ok(err)
		return token
	}
	use := func(token string) error { return o.accounts.UseReset(t.Context(), token, "a fresh password") }
	join := func(u tenant.User, of tenant.ID) {
		t.Helper()
		_, err := o.members.AddMember(t.Context(), admin, of, tenant.MemberRequest{User: u.ID, Role: tenant.Viewer})
		o.ok(err)
	}
	yes := true

	plain := o.user("plain", one, tenant.Viewer)
	_, session := o.as("plain")
	token := makes(plain.ID)
	errs := testenv.Together(3, func(int) error { return use(token) })
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			o.code(err, fault.CodeInvalid)
		}
	}
	if won != 1 {
		t.Errorf("used %d times: %v", won, errs)
	}
	_, err := o.callers.BySession(t.Context(), session)
	o.code(err, fault.CodeUnauthorized)
	_, err = o.login("plain", "a fresh password")
	o.ok(err)

	elsewhere := o.user("elsewhere", other, tenant.Viewer)
	_, err = reset(owner, elsewhere.ID)
	o.code(err, fault.CodeNotFound)
	_, err = reset(owner, "usr_none")
	o.code(err, fault.CodeNotFound)
	join(elsewhere, one)
	_, err = reset(owner, elsewhere.ID)
	o.code(err, fault.CodeForbidden)
	o.ok(o.members.RemoveMember(t.Context(), admin, other, elsewhere.ID))
	_, err = reset(owner, elsewhere.ID) // the account is not this tenant's
	o.code(err, fault.CodeForbidden)

	joins := o.user("joins", one, tenant.Viewer)
	token = makes(joins.ID)
	join(joins, other)
	o.code(use(token), fault.CodeInvalid)
	o.ok(o.members.RemoveMember(t.Context(), admin, other, joins.ID))
	o.code(use(token), fault.CodeInvalid) // nor ever again

	rises := o.user("rises", one, tenant.Viewer)
	token = makes(rises.ID)
	_, err = o.accounts.ChangeUser(t.Context(), admin, rises.ID, tenant.UserChange{Operator: &yes})
	o.ok(err)
	o.code(use(token), fault.CodeInvalid)
	_, err = reset(owner, rises.ID)
	o.code(err, fault.CodeForbidden)

	leaves := o.user("leaves", one, tenant.Viewer)
	token = makes(leaves.ID)
	o.ok(o.members.RemoveMember(t.Context(), admin, one, leaves.ID))
	o.code(use(token), fault.CodeInvalid)

	late := o.user("late", one, tenant.Viewer)
	token = makes(late.ID)
	fresh := makes(late.ID)
	o.code(use(token), fault.CodeInvalid) // the newest is the one that is good
	o.now = o.now.Add(24 * time.Hour)
	o.code(use(fresh), fault.CodeInvalid)
	owner, _ = o.as("owner")
	token = makes(late.ID)
	o.ok(o.members.RemoveMember(t.Context(), admin, one, owner.User))
	o.code(use(token), fault.CodeInvalid) // whoever made it is no owner any more

	token, err = reset(admin, rises.ID)
	o.ok(err)
	o.ok(use(token))
	viewer, err := o.callers.BySession(t.Context(), func() string { s, _ := o.login("plain", "a fresh password"); return s }())
	o.ok(err)
	_, err = reset(viewer, late.ID)
	o.code(err, fault.CodeForbidden)
}

// TestInvitationEnds: by time, and with the role of whoever made it.
func TestInvitationEnds(t *testing.T) {
	o := newOffice(t)
	one := o.tenant("one")
	o.user("owner", one, tenant.Owner)
	o.user("guest", "", "")
	owner, _ := o.as("owner")
	invite := func() string {
		t.Helper()
		_, token, _, err := o.members.Invite(t.Context(), owner, one, tenant.Owner, nil)
		o.ok(err)
		return token.Reveal()
	}
	token := invite()
	begun := o.now
	for _, after := range []time.Duration{7 * 24 * time.Hour, 8 * 24 * time.Hour} {
		o.now = begun.Add(after)
		guest, _ := o.as("guest")
		_, err := o.members.Join(t.Context(), guest, token)
		o.code(err, fault.CodeInvalid)
	}
	o.now = begun
	guest, _ := o.as("guest")
	o.ok(o.members.RemoveMember(t.Context(), admin, one, owner.User))
	for _, bad := range []string{token, "", "x", strings.Repeat("x", 5000)} { // nobody comes back by an invitation of their own
		_, err := o.members.Join(t.Context(), guest, bad)
		o.code(err, fault.CodeInvalid)
	}
	_, err := o.members.Join(t.Context(), admin, token)
	o.code(err, fault.CodeForbidden)
	_, err = o.members.AddMember(t.Context(), admin, one, tenant.MemberRequest{Login: "owner", Role: tenant.Owner})
	o.ok(err)
	m, err := o.members.Join(t.Context(), guest, invite())
	if o.ok(err); m.Role != tenant.Owner || m.Login != "guest" {
		t.Errorf("%+v", m)
	}
	_, err = o.members.Join(t.Context(), guest, invite())
	o.code(err, fault.CodeInvalid) // a member already
	_, err = o.members.AddMember(t.Context(), owner, one, tenant.MemberRequest{Login: "guest", Role: tenant.Viewer})
	o.code(err, fault.CodeInvalid) // or owners could ask who has an account
}

// TestLogInWhilePasswordChanges: a session that begins with the old password while it is
// changed is over as well.
func TestLogInWhilePasswordChanges(t *testing.T) { onBoth(t, logInWhilePasswordChanges) }

func logInWhilePasswordChanges(o *office) {
	t := o.T
	o.user("alice", o.tenant("one"), tenant.Owner)
	p, _ := o.as("alice")
	var tokens [4]string
	testenv.Together(5, func(i int) error {
		if i == 4 {
			_, _, err := o.accounts.ChangePassword(t.Context(), p, pass, "a fresh password", home)
			return err
		}
		tokens[i], _ = o.login("alice", pass)
		return nil
	})
	for _, token := range tokens {
		if _, err := o.callers.BySession(t.Context(), token); err == nil {
			t.Error("the old password still opens")
		}
	}
}
