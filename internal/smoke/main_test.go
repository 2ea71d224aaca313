package smoke

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

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
	found, cleanUp, err := testenv.Binary(repository)
	binary = found
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
