package swarm

import (
	"reflect"
	"testing"

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
