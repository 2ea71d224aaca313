package host

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/secret"
)

func goodCandidate() Candidate {
	return Candidate{
		Name: "db-host-1", Address: "10.0.0.7", User: "root", Password: secret.New(" s3cret "),
		Region: "r1", Zone: "z1", Rack: "k1", Arch: "X86_64", OS: "Debian 13", Kernel: "6.12",
		CPUMillis: 16000, MemoryBytes: 64 << 30, NIC: "10GE", Purpose: "Database", Component: "Compute,Storage",
		Labels: map[string]string{"team": "data", "example.com/cost": ""},
		Disks: []DiskSpec{
			{Name: "nvme1n1", Path: "/data1", Type: DiskNVMe, CapacityBytes: 1 << 40, State: SpecAvailable},
			{Path: "/data2", Type: DiskHDD, CapacityBytes: 1, State: SpecReserved},
		},
	}
}

func fieldsOf(wrong []fault.FieldError) []string {
	names := []string{}
	for _, w := range wrong {
		names = append(names, w.Field)
	}
	return names
}

func TestCandidateCheck(t *testing.T) {
	if wrong := goodCandidate().Check(); len(wrong) > 0 {
		t.Fatalf("a good one: %v", wrong)
	}
	for _, c := range []struct {
		change func(*Candidate)
		want   string // the fields, in their order
	}{
		{func(c *Candidate) { c.Name = "" }, "name"},
		{func(c *Candidate) { c.Name = "Upper" }, "name"},
		{func(c *Candidate) { c.Name = "-x" }, "name"},
		{func(c *Candidate) { c.Name = "a..b" }, "name"},
		{func(c *Candidate) { c.Name = "x\n" }, "name"},
		{func(c *Candidate) { c.Name = strings.Repeat("a", 63) }, ""},
		{func(c *Candidate) { c.Name = strings.Repeat("a", 64) }, "name"},
		{func(c *Candidate) { c.Address = "" }, "address"},
		{func(c *Candidate) { c.Address = "10.0.0.256" }, "address"},
		{func(c *Candidate) { c.Address = "010.0.0.7" }, "address"},
		{func(c *Candidate) { c.Address = "0x7f.1" }, "address"},
		{func(c *Candidate) { c.Address = "0x7f" }, "address"},
		{func(c *Candidate) { c.Address = "0.0.0.0" }, "address"},
		{func(c *Candidate) { c.Address = "224.0.0.1" }, "address"},
		{func(c *Candidate) { c.Address = "fe80::1%eth0" }, "address"},
		{func(c *Candidate) { c.Address = "a b" }, "address"},
		{func(c *Candidate) { c.Address = "10.0.0.7:22" }, "address"},
		{func(c *Candidate) { c.Address = "fd00::7" }, ""},
		{func(c *Candidate) { c.Address = "db1.example.com." }, ""},
		{func(c *Candidate) { c.Address = "xn--bcher-kva.example" }, ""},
		{func(c *Candidate) { c.User = "" }, "user"},
		{func(c *Candidate) { c.User = "a b" }, "user"},
		{func(c *Candidate) { c.User = "-oProxyCommand=x" }, "user"},
		{func(c *Candidate) { c.Password = secret.New("a\nb") }, "password"},
		{func(c *Candidate) { c.Password = secret.New(strings.Repeat("x", 1025)) }, "password"},
		{func(c *Candidate) { c.Region, c.Zone, c.Rack = "", "", "" }, "region zone"},
		{func(c *Candidate) { c.Region, c.Zone, c.Rack = "ä", "a/b", "a b" }, "region zone rack"},
		{func(c *Candidate) { c.Arch = "" }, ""},
		{func(c *Candidate) { c.Arch = "ARM64" }, ""},
		{func(c *Candidate) { c.Arch = "aarch64" }, ""},
		{func(c *Candidate) { c.Arch = "riscv64" }, "arch"},
		{func(c *Candidate) { c.CPUMillis, c.MemoryBytes = 0, 0 }, ""},
		{func(c *Candidate) { c.CPUMillis, c.MemoryBytes = -1, -1 }, "cpu memory"},
		{func(c *Candidate) { c.CPUMillis, c.MemoryBytes = 4096001, 64<<40+1 }, "cpu memory"},
		{func(c *Candidate) { c.OS, c.NIC = "a\nb", "\u202eevil" }, "os nic"},
		{func(c *Candidate) { c.Kernel = strings.Repeat("ä", 129) }, "kernel"},
		{func(c *Candidate) { c.Labels = map[string]string{"a b": "x"} }, "labels"},
		{func(c *Candidate) { c.Labels = map[string]string{"a": "x\n"} }, "labels"},
		{func(c *Candidate) { c.Disks[0].Path = "data" }, "disks[0].path"},
		{func(c *Candidate) { c.Disks[0].Path = "/data/../etc" }, "disks[0].path"},
		{func(c *Candidate) { c.Disks[0].Path = "/data/" }, "disks[0].path"},
		{func(c *Candidate) { c.Disks[0].Path = "/data:ro" }, "disks[0].path"},
		{func(c *Candidate) { c.Disks[1].Path = "/data1" }, "disks[1].path"},
		{func(c *Candidate) { c.Disks[1].Name = "nvme1n1" }, "disks[1].name"},
		{func(c *Candidate) { c.Disks[1].Type = "SSD" }, "disks[1].type"},
		{func(c *Candidate) { c.Disks[1].CapacityBytes = 0 }, "disks[1].capacity"},
		{func(c *Candidate) { c.Disks[1].CapacityBytes = 1<<50 + 1 }, "disks[1].capacity"},
		{func(c *Candidate) { c.Disks[1].State = "available" }, "disks[1].status"},
		{func(c *Candidate) { c.Disks[1].State = "" }, ""},
		{func(c *Candidate) { c.Disks = make([]DiskSpec, 129) }, "disks"},
	} {
		one := goodCandidate()
		c.change(&one)
		if got := strings.Join(fieldsOf(one.Check()), " "); got != c.want {
			t.Errorf("%+v: %q, want %q", one, got, c.want)
		}
	}
}

func TestCandidateEndpoint(t *testing.T) {
	for endpoint, want := range map[string]string{
		"ssh://root@10.0.0.7:2222": "", "ssh://10.0.0.7": "", "ssh://root@[fd00::7]:22": "", "tcp://10.0.0.7:2376": "",
		"unix:///var/run/docker.sock": "", "swarm://10.0.0.7:2377?node=abc1": "",
		"swarm://10.0.0.7:2377,db.example:2376?node=abc1&data=/srv/berth": "",
		"ssh://other@10.0.0.7": "endpoint", "ssh://root:pw@10.0.0.7": "endpoint", "ssh://root@10.0.0.7:0": "endpoint",
		"ssh://root@10.0.0.7:": "endpoint", "ssh://root@10.0.0.7/x": "endpoint", "ssh://root@10.0.0.7?x": "endpoint",
		"ssh://root@10.0.0.7#": "endpoint", "ssh://-oX@10.0.0.7": "endpoint", "ssh:root": "endpoint", "ssh://": "endpoint",
		"tcp://10.0.0.7": "endpoint", "tcp://u@10.0.0.7:1": "endpoint", "unix://x/y": "endpoint", "unix:///a/../b": "endpoint",
		"unix:///": "endpoint", "http://10.0.0.7:1": "endpoint", "10.0.0.7": "endpoint", ":": "endpoint",
		"swarm://10.0.0.7:2377": "endpoint", "swarm://10.0.0.7?node=a": "endpoint", "swarm://10.0.0.7:1,?node=a": "endpoint", "swarm://10.0.0.7:1?node=A/b": "endpoint",
		"swarm://10.0.0.7:1?node=a&data=x": "endpoint", "swarm://10.0.0.7:1?node=a&other=x": "endpoint", "swarm://u@10.0.0.7:1?node=a": "endpoint",
		"tcp://10.0.0.7:1/" + strings.Repeat("x", 600): "endpoint",
	} {
		c := goodCandidate()
		c.Endpoint = endpoint
		wrong := c.Check()
		if got := strings.Join(fieldsOf(wrong), " "); got != want {
			t.Errorf("%s: %v, want %q", endpoint, wrong, want)
		}
	}
	c := goodCandidate()
	c.User = ""
	for endpoint, want := range map[string]string{"ssh://a@h": "", "ssh://h": "user", "ssh://%20@h": "endpoint", "tcp://h:1": ""} {
		c.Endpoint = endpoint
		if got := strings.Join(fieldsOf(c.Check()), " "); got != want {
			t.Errorf("%s without a user: %q, want %q", endpoint, got, want)
		}
	}
}

func TestNormalized(t *testing.T) {
	c := goodCandidate()
	c.Disks[1].State = ""
	n := c.Normalized()
	if n.Arch != "amd64" || n.Endpoint != "ssh://root@10.0.0.7:22" || n.Disks[1].State != SpecAvailable || c.Disks[1].State != "" {
		t.Errorf("%+v", n)
	}
	if !reflect.DeepEqual(n, n.Normalized()) || len(n.Check()) > 0 {
		t.Error("normalized again, it is another one")
	}
	c.Address = "fd00::7"
	if got := c.Normalized().Endpoint; got != "ssh://root@[fd00::7]:22" {
		t.Error(got)
	}
}

func TestSplitAddress(t *testing.T) {
	for text, want := range map[string][3]string{
		"10.0.0.7": {"10.0.0.7", "", "true"}, "10.0.0.7:2222": {"10.0.0.7", "2222", "true"}, "fd00::7": {"fd00::7", "", "true"},
		"[fd00::7]": {"fd00::7", "", "true"}, "[fd00::7]:22": {"fd00::7", "22", "true"}, "h:x": {"h", "x", "false"}, "h:": {"h", "", "false"},
		"h:0": {"h", "0", "false"}, "h:022": {"h", "022", "false"}, "h:65536": {"h", "65536", "false"}, "[": {"", "", "false"}, "": {"", "", "true"},
	} {
		address, port, ok := SplitAddress(text)
		if got := [3]string{address, port, fmt.Sprint(ok)}; got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// Two rows with one name or one address are both named, whatever way the address is written.
func TestCheckAllFindsTwins(t *testing.T) {
	list := func(change ...func(*Candidate)) (all []Candidate) {
		for i, f := range change {
			c := goodCandidate()
			c.Row, c.Name, c.Address = i+2, fmt.Sprintf("h%d", i), fmt.Sprintf("10.0.0.%d", i+1)
			f(&c)
			all = append(all, c)
		}
		return all
	}
	same := func(*Candidate) {}
	for what, c := range map[string]struct {
		all  []Candidate
		want []string
	}{
		"none":      {list(same, same), nil},
		"name":      {list(same, same, func(c *Candidate) { c.Name = "h0" }), []string{"rows[4].name: is the name of rows[2], too"}},
		"address":   {list(same, func(c *Candidate) { c.Address = "10.0.0.1" }), []string{"rows[3].address: is the address, with the same SSH port, of rows[2], too"}},
		"port":      {list(same, func(c *Candidate) { c.Address, c.Endpoint = "10.0.0.1", "ssh://root@10.0.0.1:2222" }), nil},
		"mapped":    {list(same, func(c *Candidate) { c.Address = "::ffff:10.0.0.1" }), []string{"rows[3].address: is the address, with the same SSH port, of rows[2], too"}},
		"case":      {list(func(c *Candidate) { c.Address = "DB.example" }, func(c *Candidate) { c.Address = "db.Example." }), []string{"rows[3].address: is the address, with the same SSH port, of rows[2], too"}},
		"endpoint":  {list(func(c *Candidate) { c.Endpoint = "ssh://j:22" }, func(c *Candidate) { c.Endpoint = "ssh://root@j" }), []string{"rows[3].endpoint: is the endpoint of rows[2], too"}},
		"tcp":       {list(func(c *Candidate) { c.Endpoint = "tcp://e:1" }, func(c *Candidate) { c.Endpoint = "tcp://e:1" }), []string{"rows[3].endpoint: is the endpoint of rows[2], too"}},
		"simulated": {list(func(c *Candidate) { c.Address, c.Endpoint = "h", "tcp://e:1" }, func(c *Candidate) { c.Address, c.Endpoint = "h", "tcp://e:2" }), nil},
		"no file":   {list(func(c *Candidate) { c.Row = 0 }, func(c *Candidate) { c.Row, c.Name, c.MemoryBytes = 0, "h0", -1 }), []string{"hosts[1].memory: must be more than 0 and at most 65536 GiB", "hosts[1].name: is the name of hosts[0], too"}},
	} {
		var got []string
		for _, e := range CheckAll(c.all) {
			got = append(got, e.Field+": "+e.Message)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

func TestCheckAllIsBounded(t *testing.T) {
	all := make([]Candidate, 500) // each has no name, address, user, region and zone
	wrong := CheckAll(all)
	if last := wrong[len(wrong)-1]; len(wrong) != MaxFindings+1 || last.Field != "more" || !strings.HasPrefix(last.Message, "1500 more ") {
		t.Errorf("%d findings, the last one %v", len(wrong), last)
	}
}

// What was not read is said once, in the row's place among the others.
func TestCheckRead(t *testing.T) {
	all := []Candidate{{Row: 2}, {Row: 3}}
	for i := range all {
		row := goodCandidate()
		row.Row, row.Name, row.Address, row.Disks = all[i].Row, fmt.Sprintf("h%d", i), fmt.Sprintf("10.0.0.%d", i+1), nil
		all[i] = row
	}
	all[0].Address, all[1].Region = "", ""
	got := fieldsOf(CheckRead(all, [][]fault.FieldError{{{Field: "address", Message: "x"}, {Field: "disks[1].path", Message: "y"}}}))
	if want := []string{"rows[2].address", "rows[2].disks[1].path", "rows[3].region"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// No message repeats what was found: columns that are mixed up have passwords anywhere.
func TestCheckRepeatsNothing(t *testing.T) {
	const word = "hunter2 \x01Secret"
	c := Candidate{Name: word, Address: word, Endpoint: word, User: word, Password: secret.New(word + "\n"), Region: word, Zone: word, Rack: word,
		Arch: word, OS: word, Kernel: word, NIC: word, Purpose: word, Component: word, Labels: map[string]string{word: word},
		Disks: []DiskSpec{{Name: word, Path: word, Type: word, State: word}}}
	all := append([]Candidate{c, c}, Candidate{Endpoint: "ssh://u:hunter2@h"})
	wrong := CheckAll(all)
	if len(wrong) < 30 {
		t.Errorf("only %d findings", len(wrong))
	}
	for _, e := range wrong {
		if strings.Contains(e.Field+e.Message, "hunter2") {
			t.Error(e)
		}
	}
}
