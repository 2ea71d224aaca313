package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// staysAway has the sshd of the machine away for longer than an import tries: it fails and says why. The
// machine is back, and its import under the same name works, or it is deleted; nothing is left.
func (b *bed) staysAway() {
	b.Helper()
	for _, at := range []point{{"host.import", "login", before}, {"host.import", "proof", middle}, {"host.import", "proof", before}} {
		b.Logf("away at %s", at)
		b.absent()
		id := ""
		if at.side == middle {
			id = b.inMiddle(find(at.kind), func(b *bed) { b.host.StopSSH(b.T) }, func(b *bed) { b.host.Start(b.T) })
		} else {
			b.workers[len(b.workers)-1].Stop()
			w := b.startWorker("BERTH_CHAOS_STOP=" + at.String())
			id = b.beginImport()
			b.eventually("a worker stands still at "+at.String(), time.Minute, w.Stopped)
			b.host.StopSSH(b.T)
			w.Continue()
		}
		begun := time.Now()
		j := b.ended(id, 6*time.Minute)
		b.Logf("after %s: %v", time.Since(begun).Round(time.Second), j["error"])
		if at.side == middle && j.text("state") == "succeeded" { // it had all but ended
			b.host.Start(b.T)
			continue
		}
		if j.text("state") != "failed" || j.below("error").text("code") != "host_unavailable" {
			b.Errorf("away at %s, the import is %s: %v", at, j.text("state"), j["error"])
		}
		if got := b.pool.host(hostName); got.text("state") != "failed" || got.text("reason") == "" {
			b.Errorf("away at %s, the host is %v", at, got)
		}
		b.host.Start(b.T)
		if at.step == "proof" && at.side == before { // or it is not imported again
			b.succeeded(b.at("DELETE", "").text("id"), 2*time.Minute)
			b.nothingElse()
			b.left(b.host)
			continue
		}
		b.succeeded(b.beginImport(), 3*time.Minute)
		b.nothingElse()
		b.uses(b.creates("i", object{"region": "eu"}))
		b.books()
	}
	b.lockedOut()
	b.nowhere("the machine's password", b.host.Password(b.T))
}

// lockedOut takes Berth's key from the machine, and gives it back.
func (b *bed) lockedOut() {
	b.Helper()
	b.present()
	keys := filepath.Join(b.host.Root(b.T), "root/.ssh/authorized_keys")
	move := func(from, to string) {
		b.Helper()
		if err := os.Rename(from, to); err != nil {
			b.Fatal(err)
		}
	}
	move(keys, keys+"-away")
	b.host.CutLogins(b.T)
	b.eventually("the host counts as unreachable", time.Minute, func() error { return b.health(hostName, "unreachable") })
	if note := b.pool.host(hostName).text("health_note"); !strings.Contains(note, "refuses the login") {
		b.Errorf("the host is unreachable because of %q", note)
	}
	move(keys+"-away", keys)
	b.eventually("the host is healthy again", time.Minute, func() error { return b.health(hostName, "healthy") })
}
