package api_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/rooms"
)

// addHost gives a host of the pool that nothing is placed on, and its disk.
func (b *bench) addHost() (which, disk string) {
	b.Helper()
	made := id.NewSource()
	h := host.Host{
		ID: host.ID(made.New(host.Prefix)), Endpoint: "unix:///run/x.sock", Bind: "0.0.0.0", PortLow: 20000, PortHigh: 20009, Source: host.FromPool,
		State: host.StateCordoned, Health: host.Healthy, Region: "eu", Zone: "a", Rack: "r1", Arch: "amd64", Rev: 1,
	}
	h.Name = fmt.Sprintf("h-%x", string(h.ID[len(h.ID)-12:]))
	h.Advertise, h.Engine = h.Name+".example", "engine of "+h.Name
	d := host.Disk{ID: host.DiskID(made.New(host.DiskPrefix)), Host: h.ID, Path: "/data", Type: host.DiskSSD, CapacityBytes: 1 << 40, State: host.DiskAvailable, Enforcement: host.EnforcedByNone, Rev: 1}
	err := b.store.Tx(b.Context(), func(tx rooms.Tx) error {
		return errors.Join(tx.PutPlace(host.Place{Region: "eu"}), tx.PutPlace(host.Place{Region: "eu", Zone: "a"}), tx.InsertHost(h), tx.InsertDisk(d))
	})
	if err != nil {
		b.Fatal(err)
	}
	return string(h.ID), string(d.ID)
}

// aMachine is a request for one that does not answer.
func aMachine(name string) string {
	return fmt.Sprintf(`{"name":%q,"address":%q,"user":"root","password":%q,"region":"eu","zone":"a"}`, name, name+".example", machinePassword)
}

const machinePassword = "the-password-of-a-machine"

// addSwarm gives a swarm that nobody has looked at.
func (b *bench) addSwarm() string {
	b.Helper()
	name := strings.ToLower(strings.TrimPrefix(id.NewSource().New("swm"), "swm_"))
	b.call("POST", "/api/v1/swarms", fmt.Sprintf(`{"name":%q,"endpoint":"swarm://10.0.0.1:2376","region":"eu","zone":"a"}`, name)).is(201, "")
	return name
}
