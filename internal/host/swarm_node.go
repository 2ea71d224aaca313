package host

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/berth-project/berth/internal/fault"
)

// NodeView is a node of a swarm, and what it is to the pool.
type NodeView struct {
	Node
	Host string // the name of the host that it is; empty: it is none
	// Reason says why it is no host, or what keeps the host that it is from being used.
	Reason string
}

// nextLook is the reason of a node that nothing is in the way of.
const nextLook = "becomes a host at the next look"

// viewNodes says of each node of the swarm what it is.
func (in *neighbors) viewNodes(sw Swarm) []NodeView {
	views := make([]NodeView, len(sw.Nodes))
	for i, n := range sw.Nodes {
		v := NodeView{Node: n}
		if h := in.nodes[n.ID]; h != nil {
			v.Host, v.Reason = h.Name, hindrance(n, h)
		} else if _, v.Reason = in.candidateOf(sw, n); v.Reason == "" {
			v.Reason = nextLook
		}
		views[i] = v
	}
	return views
}

// hindrance says what keeps the host that a node is from being used; empty: nothing.
func hindrance(n Node, h *Host) string {
	switch {
	case h.State == StateFailed:
		return fmt.Sprintf("its import has failed (%s); mend that, and import it again by its name, or delete the host: then it is tried again", h.Reason)
	case n.State != NodeReady:
		return "the node is " + n.State + " in the swarm"
	case n.Availability != NodeActive:
		return "the swarm gives the node no tasks: its availability is " + n.Availability
	case n.Labels[LabelIsolated] != "true":
		return "nothing is created there: the node has no label " + LabelIsolated + "=true"
	default:
		return ""
	}
}

// candidateOf gives what is imported to make a host of a node that is none, or why none is made.
func (in *neighbors) candidateOf(sw Swarm, n Node) (c Candidate, reason string) {
	switch {
	case n.Labels[LabelIsolated] != "true":
		return c, "it has no label " + LabelIsolated + "=true"
	case n.State != NodeReady:
		return c, "the node is " + n.State + " in the swarm"
	case n.Availability != NodeActive:
		return c, "the swarm gives the node no tasks: its availability is " + n.Availability
	case n.zone() == "" && sw.Zone == "":
		return c, "zone: the node has no label zone, and the swarm has no zone for such nodes"
	case n.address() == "":
		return c, "address: the managers do not know it; label the node " + labelAddress + "=ADDRESS"
	}
	c = Candidate{
		Name: in.nameOf(sw, n), Address: n.address(), Endpoint: sw.of(n.ID), Region: sw.Region, Zone: cmp.Or(n.zone(), sw.Zone), Rack: n.rack(), Labels: n.hostLabels(),
	}.Normalized()
	wrong := slices.Concat(c.Check(), in.refuse(c))
	if len(wrong) == 0 {
		return c, ""
	}
	return c, explainFields(wrong)
}

// explainFields puts what is wrong in one line.
func explainFields(wrong []fault.FieldError) string {
	parts := make([]string, len(wrong))
	for i, w := range wrong {
		parts[i] = w.Field + ": " + w.Message
	}
	return strings.Join(parts, "; ")
}

// hostLabels gives the labels of the node that its host gets: not those that are read for something
// else, and not those that a host cannot have.
func (n Node) hostLabels() map[string]string {
	labels := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(n.Labels)) {
		value := n.Labels[name]
		read := strings.HasPrefix(name, labelPrefix) || labelPrefix+name == labelZone || labelPrefix+name == labelRack
		if !read && len(labels) < maxHostLabels && validLabel(name) && validLabelValue(value) {
			labels[name] = value
		}
	}
	return labels
}

// nameOf gives the name of the host that the node becomes: its host name, with that of the swarm where
// another host has it, and with its id where nothing else helps.
func (in *neighbors) nameOf(sw Swarm, n Node) string {
	own := hostName(n.Hostname)
	for _, name := range []string{own, joinName(own, sw.Name), joinName(joinName(own, sw.Name), n.ID)} {
		if name != "" && !in.names[name] {
			return name
		}
	}
	return hostName(n.ID)
}

// hostName makes a name for a host of any text; empty: nothing of it can be in one.
func hostName(text string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '-'
	}, strings.ToLower(text))
	for strings.Contains(name, "..") {
		name = strings.ReplaceAll(name, "..", ".")
	}
	return strings.Trim(name[:min(len(name), maxName)], "-.")
}

// joinName adds a part to a name, which is shortened for it.
func joinName(name, part string) string {
	part = hostName(part)
	name = strings.Trim(name[:min(len(name), max(0, maxName-1-len(part)))], "-.")
	return strings.Trim(name+"-"+part, "-.")
}
