package host

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// A host that has lost the data of many units at once has more likely been started
// without its disk than lost them. Nothing is concluded from that for missingGrace: long
// enough for somebody to be called, who mounts the disk and restarts the engine. Until
// then the instances are unhealthy, with their ports, and nobody's data is given up.
const (
	missingGrace = 10 * time.Minute
	// fewMissing may be missing at once wherever there are more, and so may one in
	// missingShare: people do remove volumes by hand.
	fewMissing   = 3
	missingShare = 5
)

// muchMissing reports whether too much is missing at once to be believed. Of a host that
// has nothing left at all, two are too much.
func muchMissing(missing, expected int) bool {
	return missing > max(fewMissing, expected/missingShare) || (missing > 1 && missing == expected)
}

// believed reports whether the instances whose data is missing are given up. The host's
// row keeps since when much has been missing, for whoever sweeps or repairs next.
func (s *sweep) believed(ctx context.Context, expected int) (bool, error) {
	if !muchMissing(len(s.missing), expected) {
		if s.host.MissingSince.IsZero() {
			return true, nil
		}
		s.Log.InfoContext(ctx, "the data of most instances is back", "host", s.host.Name)
		return true, s.markMissing(ctx, time.Time{})
	}
	if s.host.MissingSince.IsZero() {
		s.Log.ErrorContext(ctx, "the data of many instances is missing at once; not treated as lost yet: check that the engine's disk is mounted",
			"host", s.host.Name, "missing", len(s.missing), "expected", expected, "until", s.began.Add(missingGrace).Format(time.RFC3339))
		return false, s.markMissing(ctx, s.began)
	}
	return missingLong(s.host, s.began), nil
}

// missingLong reports whether so much has been missing for so long that it is believed.
func missingLong(host Host, now time.Time) bool {
	return !host.MissingSince.IsZero() && !now.Before(host.MissingSince.Add(missingGrace))
}

func (s *sweep) markMissing(ctx context.Context, since time.Time) error {
	if s.DryRun {
		return nil
	}
	after := s.host
	after.MissingSince = since
	return fault.IgnoreLostRace(s.Store.Tx(ctx, func(tx Tx) error { return tx.MarkHost(after, s.host) }))
}

// CheckLoss fails with CodeHostUnavailable where so much is missing on the host besides
// what somebody has just found missing that it is not to be believed yet. No sweep may
// have seen that so far.
func CheckLoss(ctx context.Context, store Reader, all Roll, runtime Platform, which ID, now time.Time) error {
	units, err := runtime.List(ctx)
	if err != nil {
		return err
	}
	there := map[UnitID]bool{}
	for _, u := range units {
		there[u.ID] = u.Volume
	}
	missing, expected := 0, 0
	err = eachOn(ctx, all, which, func(r Resident) error {
		if r.Wants == WantsServer {
			if expected++; !there[r.ID] {
				missing++
			}
		}
		return nil
	})
	if err != nil || !muchMissing(missing, expected) {
		return err
	}
	host, err := store.Host(ctx, which)
	if err != nil || missingLong(host, now) {
		return err
	}
	return fault.Errorf(fault.CodeHostUnavailable, nil, "host %s has lost the data of %d of its %d instances at once; check that its engine's disk is mounted", host.Name, missing, expected)
}
