package swarm

import (
	"reflect"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/berth-project/berth/internal/fault"
)

func TestParse(t *testing.T) {
	for endpoint, want := range map[string]address{
		"swarm://10.0.0.1:2376?node=n1":                           {[]string{"tcp://10.0.0.1:2376"}, "n1", defaultData},
		"swarm://10.0.0.1:2376,m2.example:2376?node=n1&data=/srv": {[]string{"tcp://10.0.0.1:2376", "tcp://m2.example:2376"}, "n1", "/srv"},
		"swarm://10.0.0.1:2376":                                   {[]string{"tcp://10.0.0.1:2376"}, "", defaultData}, // for Nodes
	} {
		if got, err := parse(endpoint); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v, %v; want %+v", endpoint, got, err, want)
		}
	}
	for _, endpoint := range []string{
		"", "tcp://10.0.0.1:2376", "swarm://", "swarm://?node=n1", "swarm://a,,b?node=n1", "swarm://unix:///x?node=n1", "swarm://a?node=n1&data=srv",
	} {
		if got, err := parse(endpoint); fault.CodeOf(err) != fault.CodeHostUnavailable {
			t.Errorf("%q is %+v, %v", endpoint, got, err)
		}
	}
}

func TestAddressOf(t *testing.T) {
	for _, test := range []struct{ status, manager, want string }{
		{"10.0.0.1", "", "10.0.0.1"}, {"10.0.0.1", "10.0.0.2:2377", "10.0.0.1"}, {"fd00::1", "", "fd00::1"},
		{"0.0.0.0", "10.0.0.2:2377", "10.0.0.2"}, {"127.0.0.1", "[fd00::2]:2377", "fd00::2"}, {"", "10.0.0.2:2377", "10.0.0.2"},
		{"0.0.0.0", "", ""}, {"0.0.0.0", "0.0.0.0:2377", ""}, {"", "nonsense", ""}, {"", "", ""},
	} {
		n := swarm.Node{Status: swarm.NodeStatus{Addr: test.status}}
		if test.manager != "" {
			n.ManagerStatus = &swarm.ManagerStatus{Addr: test.manager}
		}
		if got := addressOf(n); got != test.want {
			t.Errorf("%q, manager at %q: %q, want %q", test.status, test.manager, got, test.want)
		}
	}
}
