package smoke

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

// readmeLimit is how long all commands of the README may take together.
const readmeLimit = 3 * time.Minute

// The marker stands on the line above the fence of each block that a test runs.
const (
	testMarker = "<!-- test -->"
	testFence  = "```sh"
)

// block is a fenced piece of a document.
type block struct {
	line int // of its first command
	text string
}

// testedBlocks gives the marked blocks of a document. A marker that marks nothing is
// an error, and so is a document without any: what nobody runs, rots.
func testedBlocks(document string) ([]block, error) {
	var found []block
	lines := strings.Split(document, "\n")
	for i := 0; i < len(lines); i++ {
		if strings.TrimSpace(lines[i]) != testMarker {
			continue
		}
		if i+1 == len(lines) || lines[i+1] != testFence {
			return nil, fmt.Errorf("line %d: %s is not followed by a line %s", i+1, testMarker, testFence)
		}
		b := block{line: i + 3}
		for i += 2; i < len(lines) && lines[i] != "```"; i++ {
			b.text += lines[i] + "\n"
		}
		if i == len(lines) {
			return nil, fmt.Errorf("line %d: the block has no end", b.line-1)
		}
		if strings.TrimSpace(b.text) == "" {
			return nil, fmt.Errorf("line %d: the block is empty", b.line-1)
		}
		found = append(found, b)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no block is marked with %s", testMarker)
	}
	return found, nil
}

// script makes one bash session of the blocks, which says where it is.
func script(name string, blocks []block) string {
	var s strings.Builder
	s.WriteString("set -eo pipefail\n")
	for _, b := range blocks {
		fmt.Fprintf(&s, "echo '--- %s:%d' >&2\n%s", name, b.line, b.text)
	}
	return s.String()
}

func TestTestedBlocks(t *testing.T) {
	fence := "```"
	good := "# A\n\n" + testMarker + "\n" + testFence + "\na=1\n" + fence + "\n\n" + testFence + "\nfalse # not marked\n" + fence + "\n" +
		testMarker + "\n" + testFence + "\ntest \"$a\" = 1\n\ntrue | true\n" + fence + "\n"
	blocks, err := testedBlocks(good)
	if err != nil {
		t.Fatal(err)
	}
	want := []block{{5, "a=1\n"}, {13, "test \"$a\" = 1\n\ntrue | true\n"}}
	if fmt.Sprint(blocks) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", blocks, want)
	}
	if out, err := exec.CommandContext(t.Context(), "bash", "-c", script("A", blocks)).CombinedOutput(); err != nil {
		t.Errorf("the blocks are not one session: %v\n%s", err, out)
	}
	failing := append(blocks, block{20, "false | true\n"}, block{30, "echo still here\n"})
	if out, err := exec.CommandContext(t.Context(), "bash", "-c", script("A", failing)).CombinedOutput(); err == nil || strings.Contains(string(out), "still here") {
		t.Errorf("a command that fails goes unnoticed: %v\n%s", err, out)
	}
	for name, bad := range map[string]string{
		"no block":        "# A\n" + testFence + "\ntrue\n" + fence + "\n",
		"another fence":   testMarker + "\n" + fence + "json\n{}\n" + fence + "\n",
		"a line between":  testMarker + "\n\n" + testFence + "\ntrue\n" + fence + "\n",
		"marker at end":   testMarker,
		"without an end":  testMarker + "\n" + testFence + "\ntrue\n",
		"nothing in it":   testMarker + "\n" + testFence + "\n" + fence + "\n",
		"nothing at all":  "",
		"only a good one": good + testMarker + "\n",
	} {
		if blocks, err := testedBlocks(bad); err == nil {
			t.Errorf("%s: taken as %v", name, blocks)
		}
	}
}

// TestReadme does what the README tells its readers to do, in a folder that looks to
// them like a checkout in which `make run` runs.
func TestReadme(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile(filepath.Join(repository, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := testedBlocks(string(document))
	if err != nil {
		t.Fatalf("README.md: %v", err)
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
	ctx, cancel := context.WithTimeout(t.Context(), readmeLimit)
	defer cancel()
	// The address that readers use is that of the test's server here.
	commands := strings.ReplaceAll(script("README.md", blocks), "127.0.0.1:8080", strings.TrimPrefix(dev.url, "http://"))
	bash := exec.CommandContext(ctx, "bash", "-s")
	bash.Dir, bash.Stdin = dir, strings.NewReader(commands)
	bash.Env = append(testenv.CleanEnvironment(), "BERTH_URL="+dev.url, "BERTH_DATA_DIR="+dev.dir)
	bash.WaitDelay = 5 * time.Second
	out, err := bash.CombinedOutput()
	if err != nil {
		t.Fatalf("the README's commands: %v\n%s", err, out)
	}
	t.Logf("%d blocks:\n%s", len(blocks), out)
}
