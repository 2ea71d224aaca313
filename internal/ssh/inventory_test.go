package ssh

import (
	"testing"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/testenv"
)

// The scripts of hosts run over a login as they do without one.
func TestInventoryOverOpenSSH(t *testing.T) {
	d := testenv.StartSSHD(t)
	sh := shellOf(t, subject{address: d.Address, user: d.User, hostKey: d.HostKey, config: limits, authorize: func(line string) { d.Authorize(t, line) }})
	inv, err := host.TakeInventory(t.Context(), sh, "", "/", "/no such/folder")
	if err != nil {
		t.Fatal(err)
	}
	if inv.User != d.User || inv.CPUs == 0 || len(inv.Disks) != 2 || !inv.Disks[0].Exists || inv.Disks[1].Exists {
		t.Errorf("%+v", inv)
	}
	if _, err := host.Prepare(t.Context(), sh, "reboot"); err == nil {
		t.Error("a fix that there is none of was made")
	}
}
