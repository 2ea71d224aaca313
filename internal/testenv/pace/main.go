// Command pace prints how many times slower than a quiet machine this one is, for
// BERTH_TEST_PACE. Tests multiply their bounds of time by it.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	pace, err := testenv.MeasurePace(ctx)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "pace:", err)
		os.Exit(1)
	}
	_, _ = fmt.Fprintf(os.Stdout, "%.1f\n", pace)
}
