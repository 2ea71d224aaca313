package provision

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// A host that has lost the data of many instances at once has more likely been started
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
		s.Log.InfoContext(ctx, "the data of most instances is there again", "host", s.host.Name)
		return true, s.markMissing(ctx, time.Time{})
	}
	if s.host.MissingSince.IsZero() {
		s.Log.ErrorContext(ctx, "the data of many instances is missing at once; nothing is concluded from that yet, see that the engine has its disk",
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

// believable has a repair that found no data wait where that of many others is missing,
// too. It may have begun before any sweep has seen that.
func (w *work) believable(ctx context.Context, lost error) error {
	units, err := w.run.runtime.List(ctx)
	if err != nil {
		return err
	}
	there := map[InstanceID]bool{}
	for _, u := range units {
		there[u.Instance] = u.Volume
	}
	missing, expected := 0, 0
	err = eachOn(ctx, w.cfg.Store, w.run.host.ID, func(inst Instance) error {
		if inst.shouldRun() {
			if expected++; !there[inst.ID] {
				missing++
			}
		}
		return nil
	})
	if err != nil || !muchMissing(missing, expected) {
		return firstOf(err, lost)
	}
	host, err := w.cfg.Store.Host(ctx, w.run.host.ID)
	if err != nil || missingLong(host, w.cfg.Now()) {
		return firstOf(err, lost)
	}
	return fault.Errorf(fault.CodeHostUnavailable, nil, "host %s has lost the data of %d of its %d instances at once; see that its engine has its disk", host.Name, missing, expected)
}

func firstOf(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
