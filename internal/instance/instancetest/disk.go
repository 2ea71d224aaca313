package instancetest

import (
	"context"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/instance"
)

// DiskSubject is a server under the contract of instance.DiskKeeper, with what its tenant
// does to it. Each use is one of a client that has connected anew.
type DiskSubject struct {
	Keeper      instance.DiskKeeper
	Instance    instance.Instance
	Credentials instance.Credentials
	Grain       int64                       // more than the server itself may write meanwhile, in bytes
	Write       func(context.Context) error // stores several grains more
	Small       func(context.Context) error // stores next to nothing
	Read        func(context.Context) error
	Delete      func(context.Context) error // deletes all that Write has stored
}

// diskPatience is how long a server may take to free what was deleted.
const diskPatience = time.Minute

// DiskContract tests that an engine keeps the promises of instance.DiskKeeper.
func DiskContract(t *testing.T, s DiskSubject) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*diskPatience)
	defer cancel()
	keep := func(refuse bool) int64 {
		t.Helper()
		asked := false
		used, err := s.Keeper.KeepDisk(ctx, s.Instance, s.Credentials, func(n int64) bool {
			asked = n >= 0
			return refuse
		})
		if err != nil || !asked || used < 0 {
			t.Fatalf("KeepDisk (refuse %t): %d used, asked %t, %v", refuse, used, asked, err)
		}
		return used
	}
	must := func(err error, what string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	empty := keep(false)
	must(s.Write(ctx), "write")
	written := keep(false)
	if written < empty+s.Grain {
		t.Fatalf("it used %d bytes, and %d after several times %d were written", empty, written, s.Grain)
	}
	for range 2 { // it comes to the same
		keep(true)
		if err := s.Small(ctx); err == nil {
			t.Fatal("the tenant may write")
		}
		must(s.Read(ctx), "read while writes are refused")
	}
	must(s.Delete(ctx), "delete while writes are refused")
	var left int64
	for end := time.Now().Add(diskPatience); ; {
		if left = keep(true); left < written-s.Grain {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d bytes were used before the delete, and %d are long after it", written, left)
		}
		select {
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		case <-time.After(time.Second):
		}
	}
	if err := s.Small(ctx); err == nil {
		t.Fatal("the tenant may write before that is allowed")
	}
	for range 2 {
		keep(false)
		must(s.Small(ctx), "write again")
		must(s.Read(ctx), "read")
	}
	t.Logf("%d bytes used while empty, %d with data, %d after the delete", empty, written, left)
}
