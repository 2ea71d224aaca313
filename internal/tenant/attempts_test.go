package tenant_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

// TestThrottle: the pauses double, end by themselves, and are the guesser's alone.
func TestThrottle(t *testing.T) {
	o := newOffice(t)
	o.user("alice", "", "")
	from := func(address, password string) (wait time.Duration) {
		t.Helper()
		_, _, err := o.accounts.LogIn(t.Context(), visitor(address), tenant.LogInRequest{Login: "alice", Password: password})
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
		_, _, err := o.accounts.LogIn(t.Context(), visitor(address), tenant.LogInRequest{Login: login, Password: pass})
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
