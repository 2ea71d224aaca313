package engine

import (
	"testing"

	"github.com/berth-project/berth/internal/testenv"
)

// needsDocker leaves a test out of a short run.
func needsDocker(t testing.TB) {
	t.Helper()
	testenv.Needs(t, testenv.Docker)
}
