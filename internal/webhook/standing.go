package webhook

import (
	"time"

	"github.com/berth-project/berth/internal/backoff"
)

// Standing is what all couriers know of a receiver that is not well: it fails, or it
// is slow. One that is well has none.
type Standing struct {
	Receiver     string
	Failures     int           // since it last took a delivery
	FailingSince time.Time     // the first of these; zero: it takes them
	Took         time.Duration // what an attempt takes, roughly
	RestUntil    time.Time     // nothing is sent before
	UpdatedAt    time.Time
}

const (
	// slowAnswer is what an attempt may take at a receiver that counts as fast.
	slowAnswer = time.Second
	// patience is how long a webhook may do nothing but fail before it is disabled.
	patience = 5 * 24 * time.Hour
	// standingAge is how long a standing holds that nobody writes; it is longer than the
	// longest pause between two attempts.
	standingAge = 36 * time.Hour
)

// rests is how long a receiver rests after a failure.
var rests = backoff.Exponential{First: time.Second, Most: 30 * time.Second, Jitter: 0.2}

func (s Standing) failing() bool { return s.Failures > 0 }

func (s Standing) well() bool { return !s.failing() && s.Took < slowAnswer }

// after gives the standing after an attempt.
func (s Standing) after(o attempted) Standing {
	took, now := o.took, o.at
	if now.Sub(s.UpdatedAt) > standingAge {
		s = Standing{Receiver: s.Receiver, Took: took}
	}
	s.Took, s.RestUntil, s.UpdatedAt = (s.Took+took)/2, time.Time{}, now
	if o.delivered() {
		s.Failures, s.FailingSince = 0, time.Time{}
		return s
	}
	if s.Failures++; s.Failures == 1 {
		s.FailingSince = now
	}
	s.RestUntil = now.Add(max(rests.After(s.Failures), o.asked))
	return s
}

// hopeless reports whether the receiver has done nothing but fail for too long.
func (s Standing) hopeless(now time.Time) bool {
	return s.failing() && now.Sub(s.FailingSince) >= patience
}
