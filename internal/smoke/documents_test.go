package smoke

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/docs"
	"github.com/berth-project/berth/internal/testenv"
)

// documentLimit is how long all commands of one document may take together.
const documentLimit = 3 * time.Minute

// TestDocuments does what each document tells its readers to do, in a folder that looks to
// them like a checkout in which `make run` runs.
func TestDocuments(t *testing.T) {
	t.Parallel()
	documents, err := docs.All(repository)
	if err != nil {
		t.Fatal(err)
	}
	dev := startDev(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"bin/berth": binary, ".berth": dev.dir} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range documents {
		script, tested, err := d.Script()
		if err != nil {
			t.Error(err)
		}
		if tested > 0 {
			t.Run(d.Name, func(t *testing.T) { follow(t, dev, dir, script, tested) })
		}
	}
}

// follow runs a document's commands as one session.
func follow(t *testing.T, dev *development, dir, script string, blocks int) {
	ctx, cancel := context.WithTimeout(t.Context(), documentLimit)
	defer cancel()
	// The address that readers use is that of the test's server here.
	commands := strings.ReplaceAll(script, "127.0.0.1:8080", strings.TrimPrefix(dev.url, "http://"))
	bash := exec.CommandContext(ctx, "bash", "-s")
	bash.Dir, bash.Stdin = dir, strings.NewReader(commands)
	bash.Env = append(testenv.CleanEnvironment(), "BERTH_URL="+dev.url, "BERTH_DATA_DIR="+dev.dir)
	bash.WaitDelay = 5 * time.Second
	out, err := bash.CombinedOutput()
	if err != nil {
		t.Fatalf("its commands: %v\n%s", err, out)
	}
	t.Logf("%d blocks:\n%s", blocks, out)
}
