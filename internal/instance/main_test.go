package instance_test

import (
	"os"
	"runtime"
	"testing"
)

// TestMain gives the tests one processor. Under the race detector, goroutines of one
// bubble that receive at the same time from timers which are due already use one race
// context without a lock (runtime.(*timer).maybeRunChan, Go 1.26), and the process dies of
// it now and then. The race detector goes by what happens before what, and finds no less.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}
