package job

import (
	"testing"
	"time"
)

// Far from a large bound a count is good for a second; near one, or where the bound is
// small, every accept counts.
func TestLimits(t *testing.T) {
	var c limits
	now := time.Unix(1000, 0)
	asked := func(limit int) int {
		n := 0
		for range 10 {
			if !c.far("t", limit, now) {
				n++
				c.note("t", 400, now)
			}
		}
		return n
	}
	if n := asked(1000); n != 1 {
		t.Errorf("far from the bound it counted %d times", n)
	}
	if n := asked(countedBound - 1); n != 10 {
		t.Errorf("below a small bound it counted %d times", n)
	}
	if n := asked(801); n != 10 {
		t.Errorf("in the upper half it counted %d times", n)
	}
	// What is accepted here is counted in.
	c.note("t", 498, now)
	for i, want := range []bool{true, true, false} {
		if got := c.far("t", 1000, now); got != want {
			t.Errorf("accept %d: far is %v: what was accepted here is not counted in", i, got)
		}
	}
	c.note("t", 0, now)
	if c.far("t", 1000, now.Add(countFor+time.Millisecond)) {
		t.Error("an old count is trusted")
	}
	if c.far("another", 1000, now) {
		t.Error("a tenant without a count")
	}
}
