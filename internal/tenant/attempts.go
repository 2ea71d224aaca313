package tenant

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
)

// Attempts say how often something was tried lately, such as to log in as one user from one
// address. They are a vessel that each attempt fills by one, and that leaks.
type Attempts struct {
	ID     string // a hash of what was tried
	Level  float64
	LastAt time.Time
	// ExpiresAt is when they say nothing any more.
	ExpiresAt time.Time
	Rev       int64 // zero: there is no row yet
}

// A throttle lets some attempts pass as they come. Beyond these each must wait, twice as long
// as the one before, and never longer than most: nobody can lock somebody else out for good.
type throttle struct {
	free  float64       // attempts
	leak  time.Duration // how long one attempt counts
	first time.Duration // the first pause
	most  time.Duration
}

var (
	// ofAccount is for one user's log-ins from one address.
	ofAccount = throttle{free: 5, leak: 10 * time.Minute, first: time.Second, most: 15 * time.Minute}
	// ofAddress is for everybody's log-ins from one address, which an office may share.
	ofAddress = throttle{free: 50, leak: time.Minute, first: time.Second, most: 5 * time.Minute}
	// ofSignUps is for sign-ups from one address.
	ofSignUps = throttle{free: 20, leak: 10 * time.Minute, first: 10 * time.Second, most: 15 * time.Minute}
)

// skew is how far the clocks of two processes may be apart.
const skew = time.Minute

// pause returns how long after the last attempt the next one may be.
func (t throttle) pause(level float64) time.Duration {
	beyond := math.Ceil(level) - t.free // what has leaked out within an attempt's time does not count
	if beyond < 0 {
		return 0
	}
	return time.Duration(min(float64(t.first)*math.Exp2(beyond), float64(t.most)))
}

// take counts an attempt, or returns how long it must wait.
func (t throttle) take(a Attempts, now time.Time) (Attempts, time.Duration) {
	if a.LastAt.After(now.Add(skew)) { // the clock was put back: what it says is of no use
		a.Level, a.LastAt = 0, time.Time{}
	}
	if now.Before(a.LastAt) {
		now = a.LastAt
	}
	if wait := a.LastAt.Add(t.pause(a.Level)).Sub(now); !a.LastAt.IsZero() && wait > 0 {
		return a, wait
	}
	if !a.LastAt.IsZero() {
		a.Level = max(0, a.Level-float64(now.Sub(a.LastAt))/float64(t.leak))
	}
	a.Level++
	a.LastAt, a.ExpiresAt = now, now.Add(t.most+time.Duration(a.Level*float64(t.leak)))
	return a, 0
}

// attempt is what is about to be tried.
type attempt struct {
	id string
	throttle
}

// logIns are what a log-in counts as.
func logIns(login, address string) []attempt {
	from := Network(address)
	return []attempt{{HashToken("log in\n" + login + "\n" + from), ofAccount}, {HashToken("log in\n\n" + from), ofAddress}}
}

// gatekeeper counts attempts where all processes see them.
type gatekeeper struct {
	store Store
	now   clock.Clock
}

// admit counts the attempts, before they are made: of many at once no more pass than one
// after the other. CodeTooManyRequests says when to try again; then nothing is counted.
func (g gatekeeper) admit(ctx context.Context, all []attempt) error {
	err := fault.Redecide(func() error {
		return g.store.Tx(ctx, func(tx Tx) error {
			now, counted, longest := g.now(), make([]Attempts, len(all)), time.Duration(0)
			for i, what := range all {
				a, err := tx.Attempts(what.id)
				if fault.IgnoreNotFound(err) != nil {
					return err
				}
				a.ID = what.id
				a, wait := what.take(a, now)
				counted[i], longest = a, max(longest, wait)
			}
			if longest > 0 {
				return tooMany(longest)
			}
			for _, a := range counted {
				if err := tx.PutAttempts(a); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if errors.Is(err, fault.ErrConflict) { // so many at once that this one never had its turn
		return tooMany(time.Second)
	}
	return err
}

func tooMany(wait time.Duration) error {
	wait = (wait + time.Second - 1).Truncate(time.Second)
	return &fault.Error{
		Code: fault.CodeTooManyRequests, RetryAfter: wait,
		Message: fmt.Sprintf("too many attempts from this address; try again in %s", wait),
	}
}

// forgive takes attempts back that have succeeded: those of the account are forgotten, and
// at the address one less is counted.
func (g gatekeeper) forgive(tx Tx, login, address string) error {
	all := logIns(login, address)
	if err := tx.DeleteAttempts(all[0].id); err != nil {
		return err
	}
	a, err := tx.Attempts(all[1].id)
	if err == nil {
		a.Level = max(0, a.Level-1)
		err = tx.PutAttempts(a)
	}
	return fault.IgnoreNotFound(err)
}
