package smoke

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

const howToGet = "run scripts/docker.sh and scripts/images.sh"

// binary is the program under test.
var binary string

// What these tests are told by the environment; their servers are told otherwise.
var (
	givenURL = os.Getenv("BERTH_URL")
	givenKey = os.Getenv("BERTH_API_KEY")
)

func TestMain(m *testing.M) {
	cleanUp, err := findBinary()
	if err == nil {
		err = checkEngine()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "smoke:", err)
		os.Exit(1)
	}
	code := testenv.Run(m)
	cleanUp()
	os.Exit(code)
}

// findBinary takes BERTH_BIN, or builds the program into a folder of its own.
func findBinary() (cleanUp func(), err error) {
	if given := os.Getenv("BERTH_BIN"); given != "" {
		// Tests run in their package's folder; whoever set it was elsewhere.
		if binary = given; !filepath.IsAbs(given) {
			binary = filepath.Join(repository, given)
		}
		if _, err := os.Stat(binary); err != nil {
			return nil, fmt.Errorf("BERTH_BIN: %w; give an absolute path, or one from the repository's root", err)
		}
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "berth-smoke-")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	binary = filepath.Join(dir, "berth")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/berth")
	build.Dir, build.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("build the program: %w\n%s", err, out), os.RemoveAll(dir))
	}
	return func() { _ = os.RemoveAll(dir) }, nil
}

// repository is the root of this checkout.
var repository, _ = filepath.Abs("../..")

// checkEngine fails early, and in plain words, where there is no Docker.
func checkEngine() error {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	if out, err := runDocker(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return fmt.Errorf("no Docker engine answers (%w: %s); %s", err, out, howToGet)
	}
	for _, ref := range []string{"mysql:9.7", "redis:8"} {
		if _, err := runDocker(ctx, "image", "inspect", ref); err == nil {
			continue
		}
		if _, err := runDocker(ctx, "image", "inspect", "berth/"+ref); err != nil {
			return fmt.Errorf("neither %s nor berth/%s is here; %s", ref, ref, howToGet)
		}
	}
	return nil
}
