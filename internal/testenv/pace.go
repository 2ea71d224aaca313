package testenv

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

// PaceVariable is the setting that holds the pace of the machine, so that `make test`
// measures it once for all test binaries.
const PaceVariable = "BERTH_TEST_PACE"

// What a quiet machine with two cores and a local disk takes (Debian 12, Docker 20.10).
const (
	quietContainer = 400 * time.Millisecond
	quietMySQL     = 4 * time.Second
	slowestPace    = 12 // beyond that, waiting longer helps nobody
)

var pace = sync.OnceValue(func() float64 {
	if given, err := strconv.ParseFloat(os.Getenv(PaceVariable), 64); err == nil {
		return min(max(given, 1), slowestPace)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	measured, err := MeasurePace(ctx)
	if err != nil {
		return 1 // whoever needs the engine hears about it from its own call
	}
	return measured
})

// Pace gives how many times slower than a quiet machine of two cores this one is; at
// least 1. It is measured once, or taken from PaceVariable.
func Pace() float64 { return pace() }

// Limit gives a bound of time that fits this machine: the duration, which is good for a
// quiet one, times the machine's pace.
func Limit(quiet time.Duration) time.Duration { return time.Duration(float64(quiet) * pace()) }

// MeasurePace gives how many times slower this machine is now than a quiet one, by a bare
// container and by a MySQL that initialises itself; 1 where it is not slower.
func MeasurePace(ctx context.Context) (float64, error) {
	redis, err := firstImage(ctx, newRedisServer().images)
	if err != nil {
		return 0, err
	}
	mysql, err := firstImage(ctx, newMySQLServer().images)
	if err != nil {
		return 0, err
	}
	container, err := timeRuns(ctx, 3, redis, "true")
	if err != nil {
		return 0, err
	}
	server, err := timeRuns(ctx, 1, mysql, "mysqld", "--no-defaults", "--datadir=/tmp/data", "--initialize-insecure")
	if err != nil {
		return 0, err
	}
	ratio := max(float64(container)/float64(quietContainer), float64(server)/float64(quietMySQL))
	return min(max(ratio, 1), slowestPace), nil
}

// timeRuns gives the median time of a container that runs the program to its end.
func timeRuns(ctx context.Context, runs int, image, program string, args ...string) (time.Duration, error) {
	took := make([]time.Duration, runs)
	for i := range took {
		begun := time.Now()
		command := append(dockerHost(), "run", "--rm", "--network", "none", "--user", "999:999", "--entrypoint", program, image)
		if _, err := runFor(ctx, time.Minute, "docker", append(command, args...)...); err != nil {
			return 0, fmt.Errorf("measure the pace of this machine: %w", err)
		}
		took[i] = time.Since(begun)
	}
	slices.Sort(took)
	return took[runs/2], nil
}
