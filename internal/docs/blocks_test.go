package docs

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

func TestBlocks(t *testing.T) {
	good := "# A\n\n" + testMarker + "\n" + testedFence + "\na=1\n" + fence + "\n\n<!-- not tested: it fails -->\n" + testedFence + "\nfalse\n" + fence + "\n" +
		fence + "\nno shell\n" + fence + "\n" + testMarker + "\n" + testedFence + "\ntest \"$a\" = 1\n\ntrue | true\n" + fence + "\n"
	d := Document{Name: "A", Text: good}
	blocks, err := d.Blocks()
	if err != nil {
		t.Fatal(err)
	}
	want := []Block{{5, "a=1\n", true}, {10, "false\n", false}, {17, "test \"$a\" = 1\n\ntrue | true\n", true}}
	if fmt.Sprint(blocks) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", blocks, want)
	}
	if out, err := run(t, d); err != nil {
		t.Errorf("the blocks are not one session: %v\n%s", err, out)
	}
	for name, bad := range map[string]string{
		"another fence":   testMarker + "\n" + fence + "json\n{}\n" + fence + "\n",
		"a line between":  testMarker + "\n\n" + testedFence + "\ntrue\n" + fence + "\n",
		"marker at end":   testMarker,
		"without an end":  testMarker + "\n" + testedFence + "\ntrue\n",
		"nothing in it":   testMarker + "\n" + testedFence + "\n" + fence + "\n",
		"only a good one": good + testMarker + "\n",
		"no marker":       "\n" + testedFence + "\ntrue\n" + fence + "\n",
		"no reason":       "<!-- not tested:  -->\n" + testedFence + "\ntrue\n" + fence + "\n",
		"in a list":       "- a\n\n  " + testedFence + "\n  true\n  " + fence + "\n",
		"prompts":         testMarker + "\n" + fence + "console\n$ true\n" + fence + "\n",
	} {
		if blocks, err := (Document{Name: "A", Text: bad}).Blocks(); err == nil {
			t.Errorf("%s: taken as %v", name, blocks)
		}
	}
}

func TestScriptEndsWithTheFirstFailure(t *testing.T) {
	block := func(commands string) string {
		return testMarker + "\n" + testedFence + "\n" + commands + "\n" + fence + "\n"
	}
	out, err := run(t, Document{Name: "A", Text: block("false | true") + block("echo still here")})
	if err == nil || strings.Contains(out, "still here") {
		t.Errorf("a command that fails goes unnoticed: %v\n%s", err, out)
	}
}

func run(t *testing.T, d Document) (string, error) {
	t.Helper()
	script, _, err := d.Script()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "bash", "-c", script).CombinedOutput()
	return string(out), err
}

// Each document's commands say whether they are tested, and those that readers follow from
// the first line on are: what is not run, rots.
func TestEveryBlockIsMarked(t *testing.T) {
	for _, d := range all(t) {
		_, tested, err := d.Script()
		if err != nil {
			t.Error(err)
		}
		switch d.Name {
		case "README.md", "docs/getting-started.md", "docs/api.md", "docs/operations.md":
			if tested == 0 {
				t.Errorf("%s: no block is marked with %s", d.Name, testMarker)
			}
		}
	}
}

func all(t *testing.T) []Document {
	t.Helper()
	documents, err := All("../..")
	if err != nil {
		t.Fatal(err)
	}
	return documents
}
