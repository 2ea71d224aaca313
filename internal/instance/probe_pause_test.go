package instance

import (
	"testing"
	"time"
)

// TestProbePause goes through the pauses of servers that answer after so long: what is
// noticed late is a quarter of that at most, and less the longer it takes, and nobody is
// asked all the time.
func TestProbePause(t *testing.T) {
	for _, c := range []struct {
		answers, late time.Duration
		tries         int
	}{
		{8 * time.Millisecond, 2 * time.Millisecond, 8},
		{100 * time.Millisecond, 5 * time.Millisecond, 35},
		{700 * time.Millisecond, 15 * time.Millisecond, 130},
		{time.Minute, 100 * time.Millisecond, 1000},
	} {
		var at time.Duration
		tries := 0
		for ; at < c.answers; tries++ {
			at += probePause(at)
		}
		if late := at - c.answers; late > c.late || tries > c.tries {
			t.Errorf("answering after %s, it is noticed %s late with %d tries; want %s and %d at most", c.answers, late, tries, c.late, c.tries)
		}
	}
}
