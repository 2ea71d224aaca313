package roomstest

import (
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
)

func liveJobs(s shelf) {
	for n := range 5 {
		s.job(fmt.Sprint("live-", n), func(j *job.Job) {
			if n == 4 {
				j.Tenant = "other"
			}
		})
	}
	s.job("ended", func(j *job.Job) { j.State, j.WakeAt, j.FinishedAt = job.Failed, time.Time{}, at })
	for _, test := range []struct {
		owner       tenant.ID
		limit, want int
	}{{owner, 10, 4}, {owner, 4, 4}, {owner, 2, 2}, {"other", 10, 1}, {"nobody", 10, 0}, {"", 10, 5}, {"", 3, 3}} {
		s.commit("LiveJobs", func(tx rooms.Tx) error {
			n, err := tx.LiveJobs(test.owner, test.limit)
			if n != test.want {
				s.Errorf("of %q up to %d: %d, want %d", test.owner, test.limit, n, test.want)
			}
			return err
		})
	}
}

func certificatesDue(s shelf) {
	certified := func(name string, state instance.State, until time.Time) instance.ID {
		return s.instance(name, func(i *instance.Instance) { i.State, i.Status.CertifiedUntil = state, until }).ID
	}
	second, first := certified("second", instance.StateUnhealthy, at.Add(-time.Millisecond)), certified("first", instance.StateRunning, at.Add(-time.Hour))
	certified("later", instance.StateRunning, at)
	certified("never", instance.StateRunning, time.Time{})
	certified("deleting", instance.StateDeleting, at.Add(-time.Hour))
	certified("warm", instance.StateWarm, at.Add(-time.Hour))
	for limit, want := range map[int][]instance.ID{1: {first}, 10: {first, second}} {
		if got, err := s.store.CertificatesDue(s.ctx, at, limit); err != nil || !slices.Equal(got, want) {
			s.Errorf("of %d: got %v, %v, want %v", limit, got, err, want)
		}
	}
}

func keptInstances(s shelf) {
	kept := func(name string, state instance.State, until time.Time) instance.ID {
		return s.instance(name, func(i *instance.Instance) { i.State, i.KeptUntil = state, until }).ID
	}
	second, first := kept("second", instance.StateFailed, at), kept("first", instance.StateFailed, at.Add(-time.Hour))
	kept("later", instance.StateFailed, at.Add(time.Millisecond))
	kept("never", instance.StateFailed, time.Time{})
	kept("deleting", instance.StateDeleting, at.Add(-time.Hour))
	for limit, want := range map[int][]instance.ID{1: {first}, 10: {first, second}} {
		if got, err := s.store.KeptInstances(s.ctx, at, limit); err != nil || !slices.Equal(got, want) {
			s.Errorf("of %d: got %v, %v, want %v", limit, got, err, want)
		}
	}
}
