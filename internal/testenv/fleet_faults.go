package testenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Stop ends the host's dockerd as a crash would. Its containers run on, and nobody looks after them.
func (h FleetHost) Stop(t testing.TB) {
	t.Helper()
	h.bed.must(t, "kill", h.Name)
}

// PowerOff ends everything on the host as a power cut would.
func (h FleetHost) PowerOff(t testing.TB) {
	t.Helper()
	h.bed.must(t, "off", h.Name)
}

// Start brings the host back after Stop or PowerOff, and waits until its engine answers.
func (h FleetHost) Start(t testing.TB) {
	t.Helper()
	h.bed.must(t, "start", h.Name)
}

// Freeze has the host's dockerd answer nothing until Thaw. Connections to it are taken still.
func (h FleetHost) Freeze(t testing.TB) {
	t.Helper()
	h.bed.must(t, "signal", h.Name, "dockerd", "STOP")
}

// Thaw has the host's dockerd go on after Freeze.
func (h FleetHost) Thaw(t testing.TB) {
	t.Helper()
	h.bed.must(t, "signal", h.Name, "dockerd", "CONT")
}

// LinkDown loses what is sent to the host, and what it sends, until LinkUp.
func (h FleetHost) LinkDown(t testing.TB) {
	t.Helper()
	h.bed.must(t, "link", h.Name, "down")
}

// LinkUp ends LinkDown.
func (h FleetHost) LinkUp(t testing.TB) {
	t.Helper()
	h.bed.must(t, "link", h.Name, "up")
}

// StopSSH ends the sshd of a host of SSHFleet, and who is logged in. Start brings it back.
func (h FleetHost) StopSSH(t testing.TB) {
	t.Helper()
	h.bed.must(t, "signal", h.Name, "sshd", "KILL")
	h.CutLogins(t)
}

// CutLogins ends the connections to the sshd of a host of SSHFleet, which takes new ones.
func (h FleetHost) CutLogins(t testing.TB) {
	t.Helper()
	h.bed.must(t, "signal", h.Name, "logins", "KILL")
}

// Password is root's on a host of SSHFleet.
func (h FleetHost) Password(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.Folder, "password"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// Data is the disk of the engine of a host of SmallFleet, until PowerOff.
func (h FleetHost) Data(t testing.TB) *Disk {
	t.Helper()
	return &Disk{Path: filepath.Join(h.Root(t), h.Folder, "data"), t: t}
}

// Root leads to the files of the host as its processes see them, until PowerOff.
func (h FleetHost) Root(t testing.TB) string {
	t.Helper()
	of, err := os.ReadFile(filepath.Join(h.Folder, "pid")) // the number of one of them
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join("/proc", strings.TrimSpace(string(of)), "root")
}
