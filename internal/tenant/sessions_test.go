package tenant_test

import (
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

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
			_, _, err := o.accounts.ChangePassword(t.Context(), p, pass, "a fresh password")
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
