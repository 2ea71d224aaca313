package chaos

import (
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
)

func TestStandstill(t *testing.T) {
	t.Parallel()
	fault := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	step := func(begun, ended float64) client.Step {
		at := func(seconds float64) *time.Time {
			moment := fault.Add(time.Duration(seconds * float64(time.Second)))
			return &moment
		}
		return client.Step{StartedAt: at(begun), FinishedAt: at(ended)}
	}
	for name, tt := range map[string]struct {
		steps []client.Step
		want  time.Duration
	}{
		"nothing was cut off":             {[]client.Step{step(-5, -1), step(-1, 100), step(100, 101)}, 0},
		"taken up after eight seconds":    {[]client.Step{step(-5, -1), step(8, 100), step(100, 101)}, 8 * time.Second},
		"again in the middle":             {[]client.Step{step(1, 2), step(12, 13)}, 10 * time.Second},
		"beside a longer one":             {[]client.Step{step(1, 50), step(2, 40), step(50, 51)}, time.Second},
		"what never began does not count": {[]client.Step{step(3, 4), {}}, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := standstill(tt.steps, fault); got != tt.want {
				t.Errorf("it stood still for %s, not %s", got, tt.want)
			}
		})
	}
}
