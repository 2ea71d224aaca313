package host

import (
	"cmp"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// Swarm is a Docker Swarm whose nodes become hosts of the pool by themselves.
type Swarm struct {
	Name     string // unique among swarms; formed as the name of a host
	Endpoint string // of its managers: "swarm://10.0.0.1:2376,10.0.0.2:2376?data=/srv/berth"
	Region   string // in which its nodes stand
	Zone     string // of a node whose labels name none; empty: such a node is left alone
	Reserved bool   // its nodes become reserved hosts

	// Nodes are those that its managers named at the last look that they answered, at SeenAt.
	Nodes  []Node
	SeenAt time.Time
	Error  string // why the last look failed; empty: it did not

	Rev       int64 // grows with every write; a write names the one it saw
	CreatedAt time.Time
}

// Node is a node of a swarm as its managers describe it.
type Node struct {
	ID           string            `json:"id"`
	Hostname     string            `json:"hostname"`
	Address      string            `json:"address"`      // by which the managers know it; empty: they do not
	State        string            `json:"state"`        // "ready", "down", "unknown", "disconnected"
	Availability string            `json:"availability"` // "active", "pause", "drain"
	Labels       map[string]string `json:"labels,omitempty"`
}

// What State and Availability are of a node that is given tasks.
const (
	NodeReady  = "ready"
	NodeActive = "active"
)

// The labels of a node that Berth reads. All but the first two are also read without the prefix.
const (
	// LabelIsolated is "true" on a node of which an operator says that the settings of its engine
	// keep instances apart (docs/adr/0020), which a manager cannot see. Nothing is created on another.
	LabelIsolated = "berth.isolated"
	labelAddress  = "berth.address"
	labelZone     = "berth.zone"
	labelRack     = "berth.rack"
	labelPrefix   = "berth."
)

const (
	swarmScheme = "swarm://"
	maxEndpoint = 512
	// anyNode stands for the id of a node where only its length counts.
	anyNode = "0000000000000000000000000"
)

// Check gives all that is wrong with a swarm that somebody names.
func (sw Swarm) Check() []fault.FieldError {
	var f findings
	f.require(validName(sw.Name), "name", "must be 1 to %d characters of a-z, 0-9, - and ., with a letter or a digit at both ends", maxName)
	rest, swarm := strings.CutPrefix(sw.Endpoint, swarmScheme)
	query, err := parseSwarm(rest)
	f.require(swarm && err == nil && !query.Has("node"), "endpoint", "must be swarm://MANAGER:PORT,MANAGER:PORT[?data=/PATH]; its nodes are found")
	f.require(len(sw.of(anyNode)) <= maxEndpoint, "endpoint", "must be shorter: with the id of a node it has more than %d bytes", maxEndpoint)
	for _, place := range []struct {
		field, value string
		required     bool
	}{{"region", sw.Region, true}, {"zone", sw.Zone, false}} {
		f.require(placePattern.MatchString(place.value) || place.value == "" && !place.required, place.field, placeMessage)
	}
	return f
}

// of gives the endpoint of a node of the swarm.
func (sw Swarm) of(node string) string {
	managers, query, _ := strings.Cut(sw.Endpoint, "?")
	endpoint := managers + "?node=" + node
	if values, err := url.ParseQuery(query); err == nil && values.Has("data") {
		endpoint += "&data=" + strings.ReplaceAll(url.QueryEscape(values.Get("data")), "%2F", "/")
	}
	return endpoint
}

// parseSwarm reads what follows the scheme: the managers of a swarm, and what else is said.
func parseSwarm(text string) (url.Values, error) {
	bad := fault.Errorf(fault.CodeInvalid, nil, "it does not name the managers of a swarm")
	managers, rest, _ := strings.Cut(text, "?")
	for manager := range strings.SplitSeq(managers, ",") {
		address, port, err := net.SplitHostPort(manager)
		if err != nil || !validAddress(address) || !validPort(port) {
			return nil, bad
		}
	}
	query, err := url.ParseQuery(rest)
	if err != nil || len(query["node"]) > 1 || len(query["data"]) > 1 {
		return nil, bad
	}
	for name := range query {
		if name != "node" && name != "data" {
			return nil, bad
		}
	}
	if data := query.Get("data"); query.Has("data") && (!validDiskPath(data) || data == "/") {
		return nil, bad
	}
	return query, nil
}

// nodeOf gives the node that an endpoint names, and the folder of its data as it is written there;
// empty: it is no node of a swarm.
func nodeOf(endpoint string) (node, data string) {
	rest, swarm := strings.CutPrefix(endpoint, swarmScheme)
	_, query, _ := strings.Cut(rest, "?")
	values, err := url.ParseQuery(query)
	if !swarm || err != nil {
		return "", ""
	}
	return values.Get("node"), values.Get("data")
}

// zone, rack and address give where the node says that it is; empty: it does not say.
func (n Node) zone() string {
	return cmp.Or(n.Labels[labelZone], n.Labels[strings.TrimPrefix(labelZone, labelPrefix)])
}

func (n Node) rack() string {
	return cmp.Or(n.Labels[labelRack], n.Labels[strings.TrimPrefix(labelRack, labelPrefix)])
}

func (n Node) address() string { return cmp.Or(n.Labels[labelAddress], n.Address) }
