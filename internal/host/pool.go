package host

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// pool is all hosts with their disks, as they were read at a time. Nobody changes it.
type pool struct {
	hosts []Host
	disks map[ID][]Disk
}

const (
	// manyHosts is from where on what is read of the hosts is remembered for a moment, and two
	// that fit are looked for by drawing; fewer are read and looked at each time.
	manyHosts = 16
	// draws is how many hosts are drawn for two that fit, before all are looked at.
	draws = 16
)

// drawTwo gives the emptier one of two hosts that fit, as draw does from the list of all that
// fit: in a pool with room that is two looks and not as many as there are hosts. nil: too few
// of those that were drawn fit, or what counts is where the others of a group are.
func (all *pool) drawTwo(n Need) *Host {
	if len(all.hosts) < manyHosts || n.Where.Spread != "" {
		return nil
	}
	var first *Host
	for range draws {
		h := &all.hosts[rand.IntN(len(all.hosts))] //nolint:gosec // spread, not a secret
		switch {
		case n.ruledOut(h, all.disks[h.ID]) != "":
		case first == nil:
			first = h
		case fullness(h, n) < fullness(first, n):
			return h
		default:
			return first
		}
	}
	return nil
}

// moreThan reports whether more hosts fit than so many, and looks at no more of them than it
// must. Of units that are kept apart it reports false.
func (all *pool) moreThan(limit int, n Need) bool {
	if len(all.hosts) <= limit || n.Where.Spread != "" {
		return false
	}
	fit, first := 0, rand.IntN(len(all.hosts)) //nolint:gosec // as above
	for i := range all.hosts {
		h := &all.hosts[(first+i)%len(all.hosts)]
		if n.ruledOut(h, all.disks[h.ID]) != "" {
			continue
		}
		if fit++; fit > limit {
			return true
		}
	}
	return false
}

// filter gives the hosts that fit, but for their ports, and counts what ruled out the others.
// there counts the units of the group on each host.
func (all *pool) filter(n Need, there map[ID]int) (fit []*Host, ruled map[string]int) {
	ruled = map[string]int{}
	for i := range all.hosts {
		h := &all.hosts[i]
		if rule := n.ruledOut(h, all.disks[h.ID]); rule != "" {
			ruled[rule]++
			continue
		}
		fit = append(fit, h)
	}
	if n.Where.Spread == "" || len(fit) == 0 {
		return fit, ruled
	}
	kept := apart(fit, all.hosts, there, n.Where)
	ruled[ruleSpread] += len(fit) - len(kept)
	return kept, ruled
}

// waiting gives the name of a host that would fit if it answered; empty: there is none.
func (all *pool) waiting(n Need) string {
	for i := range all.hosts {
		if all.hosts[i].Health != Unreachable {
			continue
		}
		h := all.hosts[i]
		h.Health = Healthy
		if n.ruledOut(&h, all.disks[h.ID]) == "" {
			return h.Name
		}
	}
	return ""
}

// apart gives those of the hosts that are in the domains with the fewest of the group; where
// that is strict, in those with none.
func apart(fit []*Host, all []Host, there map[ID]int, w Where) []*Host {
	in := map[string]int{}
	for i := range all {
		in[all[i].Domain(w.Spread)] += there[all[i].ID]
	}
	fewest := in[fit[0].Domain(w.Spread)]
	for _, h := range fit {
		fewest = min(fewest, in[h.Domain(w.Spread)])
	}
	if w.Strict && fewest > 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(fit), func(h *Host) bool { return in[h.Domain(w.Spread)] > fewest })
}

// draw takes from the list the emptier one of two that are drawn.
func draw(from []*Host, n Need) (*Host, []*Host) {
	i := rand.IntN(len(from))                                                   //nolint:gosec // spread, not a secret
	if j := rand.IntN(len(from)); fullness(from[j], n) < fullness(from[i], n) { //nolint:gosec // as above
		i = j
	}
	h := from[i]
	from[i] = from[len(from)-1]
	return h, from[:len(from)-1]
}

// fullness says how full a host would be with the unit: the largest share of what it has. A host
// that is not limited is as full as it has memory.
func fullness(h *Host, n Need) float64 {
	share := func(used, asked, limit int64) float64 {
		if limit <= 0 {
			return 0
		}
		return float64(used+asked) / float64(limit)
	}
	memory := cmp.Or(h.Capacity.MemoryBytes, h.Found.MemoryBytes)
	if memory == 0 {
		return float64(h.Used.Units) / 1000
	}
	return max(share(h.Used.MemoryBytes, n.Resources.MemoryBytes, memory), share(h.Used.CPUMillis, n.Resources.CPUMillis, h.Capacity.CPUMillis))
}
