// Package fencing owns the rules by which a host.Runtime adopts, replaces or leaves alone what
// it finds under the names of a unit, from who made that and who asks. It must not know how a
// runtime keeps its units: it decides, and the runtime does it.
package fencing

import (
	"errors"
	"math"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// Any is above every fencing token: for those who only look.
const Any int64 = math.MaxInt64

// Mark says who made a container or a volume. A runtime keeps one with each.
type Mark struct {
	Deployment string // empty: it is not Berth's
	Fence      int64
}

// Claim is who asks for a unit.
type Claim struct {
	Deployment string
	Unit       host.UnitID
	Fence      int64
}

// Standing is how what is there stands to the claim that asks.
type Standing int

// The standings.
const (
	Foreign Standing = iota // of another deployment, or nobody's: never touched
	Older                   // made under an earlier claim: for the newest claim to use or replace
	Same                    // made under this claim
	Newer                   // made under a later claim: whoever asks has lost the lease
)

// Standing compares what is there with the claim.
func (c Claim) Standing(there Mark) Standing {
	switch {
	case there.Deployment != c.Deployment:
		return Foreign
	case there.Fence < c.Fence:
		return Older
	case there.Fence > c.Fence:
		return Newer
	default:
		return Same
	}
}

// The decisions below are given the marks of what is there; nil: nothing is.

// CreateVolume decides on host.Units.CreateVolume, with which Create begins, and reports
// whether the volume is to be made. A volume of an earlier claim is as good as a new one, and
// keeps its mark.
func (c Claim) CreateVolume(there *Mark, keepData bool) (create bool, err error) {
	foreign := there != nil && c.Standing(*there) == Foreign
	switch {
	case (there == nil || foreign) && keepData:
		return false, fault.Errorf(fault.CodeDataLost, nil, "the volume of instance %s is gone", c.Unit)
	case there == nil:
		return true, nil
	case foreign:
		return false, c.inTheWay("volume")
	case c.Standing(*there) == Newer:
		return false, c.fenced("volume")
	default:
		return false, nil
	}
}

// CreateContainer decides on host.Units.Create, and reports whether the container is to be
// made, in the place of what is there. One of the same claim is adopted if it is as asked: if
// it runs, because only what is complete is ever started, with the ports of the workload.
func (c Claim) CreateContainer(there *Mark, asAsked bool) (create bool, err error) {
	if there == nil {
		return true, nil
	}
	switch c.Standing(*there) {
	case Foreign:
		return false, c.inTheWay("container")
	case Newer:
		return false, c.fenced("container")
	case Same:
		return !asAsked, nil
	default:
		return true, nil
	}
}

// Use decides on what is done with a container that is there: Start, Settle, Stop, and, with
// Any, Inspect and Output.
func (c Claim) Use(container *Mark) error {
	if container == nil {
		return c.gone()
	}
	switch c.Standing(*container) {
	case Foreign:
		return c.gone()
	case Newer:
		return c.fenced("container")
	default:
		return nil
	}
}

// UseRunning decides on what is done only with a container that runs: Adopt.
func (c Claim) UseRunning(container *Mark, running bool) error {
	err := c.Use(container)
	if err == nil && !running {
		err = c.gone()
	}
	return err
}

// Removal is what is to be removed.
type Removal struct{ Container, Volume bool }

// Remove decides on host.Units.Remove. Where one of the two is a newer claim's, neither is
// removed. It fails with CodeNotFound where nothing is there to remove (IgnoreGone).
func (c Claim) Remove(container, volume *Mark, data bool) (Removal, error) {
	var r Removal
	for _, thing := range []struct {
		what   string
		there  *Mark
		remove *bool
	}{{"container", container, &r.Container}, {"volume", volume, &r.Volume}} {
		if thing.there == nil || thing.remove == &r.Volume && !data {
			continue
		}
		switch c.Standing(*thing.there) {
		case Foreign:
		case Newer:
			return Removal{}, c.fenced(thing.what)
		default:
			*thing.remove = true
		}
	}
	if r == (Removal{}) {
		return r, c.gone()
	}
	return r, nil
}

// PortRefused is how Start fails where somebody else has the port. The container is removed
// then: its ports cannot be changed any more.
func (c Claim) PortRefused(port int) error {
	return fault.Errorf(fault.CodePortRefused, &host.RefusedPort{Port: port}, "the host would not give port %d to instance %s", port, c.Unit)
}

// IgnoreGone makes what is gone already the success of Stop and Remove.
func IgnoreGone(err error) error {
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	return err
}

func (c Claim) gone() error {
	return fault.Errorf(fault.CodeNotFound, nil, "the host has no instance %s", c.Unit)
}

func (c Claim) fenced(what string) error {
	return fault.Errorf(fault.CodeFenced, nil, "the %s of instance %s was made under a newer claim", what, c.Unit)
}

func (c Claim) inTheWay(what string) error {
	return fault.Errorf(fault.CodeInternal, nil, "the host has a %s for %s that is not of this deployment", what, c.Unit)
}
