package testenv

import "testing"

// Part is something that some tests need beside Go.
type Part string

// The parts. `make test` sets all of them up; docs/CONTRIBUTING.md lists which target
// needs which.
const (
	Docker    Part = "a Docker engine"
	Databases Part = "a MySQL or a Redis, which need a Docker engine"
	OwnEngine Part = "a Docker engine of the test's own, which needs root"
	Hosts     Part = "hosts made of namespaces on this machine, which needs root"
	Root      Part = "root"
)

// Needs leaves a test out of a short run (`go test -short`, `make test-fast`), because it
// needs a part. In any other run it does nothing: where the part is missing then, the test
// fails and says how to get it. The helpers of this package that start or use a part call it
// themselves.
func Needs(t testing.TB, part Part) {
	t.Helper()
	if testing.Short() {
		t.Skipf("needs %s; make test runs it", part)
	}
}
