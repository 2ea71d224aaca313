package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Binary gives the program under test: the one that BERTH_BIN names, or one that is built
// into a folder of its own, which cleanUp removes. The repository is its root's path.
func Binary(repository string) (path string, cleanUp func(), err error) {
	if given := os.Getenv("BERTH_BIN"); given != "" {
		// Tests run in their package's folder; whoever set it was elsewhere.
		if !filepath.IsAbs(given) {
			given = filepath.Join(repository, given)
		}
		if _, err := os.Stat(given); err != nil {
			return "", nil, fmt.Errorf("BERTH_BIN: %w; give an absolute path, or one from the repository's root", err)
		}
		return given, func() {}, nil
	}
	return build(repository)
}

// ChaosBinary builds a program that can be told to end itself, or to stand still, at a step of a job
// (BERTH_CHAOS_KILL, BERTH_CHAOS_STOP). cleanUp removes it.
func ChaosBinary(repository string) (path string, cleanUp func(), err error) {
	return build(repository, "-tags", "chaos")
}

// build builds the program into a folder of its own.
func build(repository string, flags ...string) (path string, cleanUp func(), err error) {
	dir, err := os.MkdirTemp("", "berth-binary-")
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	path = filepath.Join(dir, "berth")
	build := exec.CommandContext(ctx, "go", append(append([]string{"build"}, flags...), "-o", path, "./cmd/berth")...)
	build.Dir, build.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", nil, errors.Join(fmt.Errorf("build the program: %w\n%s", err, out), os.RemoveAll(dir))
	}
	if err := os.Chmod(dir, 0o755); err != nil { // some tests run it as another user
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return path, func() { _ = os.RemoveAll(dir) }, nil
}
