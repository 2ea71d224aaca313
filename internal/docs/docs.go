// Package docs reads Berth's documents (README.md and docs/) for the tests that check them.
// It owns the convention by which a document says which of its commands are run by a test;
// it knows nothing of what the documents say.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Document is one Markdown file.
type Document struct {
	Name string // relative to the root of the repository, with slashes
	Text string
}

// All gives README.md, CHANGELOG.md and every document below docs/ of the repository at root.
func All(root string) ([]Document, error) {
	names := []string{"README.md", "CHANGELOG.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		name, err := filepath.Rel(root, path)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return nil, err
	}
	documents := make([]Document, len(names))
	for i, name := range names {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name))) //nolint:gosec // our own documents
		if err != nil {
			return nil, err
		}
		documents[i] = Document{Name: name, Text: string(text)}
	}
	return documents, nil
}

// A marker stands on the line above the fence of each block of shell commands: it says that
// a test runs the block, or why none does.
const (
	testMarker    = "<!-- test -->"
	reasonMarker  = "<!-- not tested: "
	markerEnd     = " -->"
	fence         = "```"
	testedFence   = "```sh"
	wantedMarkers = testMarker + " or " + reasonMarker + "REASON" + markerEnd
)

// shells are the languages of blocks that hold shell commands.
var shells = []string{"sh", "bash", "shell", "console"}

// Block is a fenced block of shell commands.
type Block struct {
	Line   int // of its first command
	Text   string
	Tested bool
}

// Blocks gives the blocks of shell commands of a document. Each must have a marker, and
// each marker a block that is not empty.
func (d Document) Blocks() ([]Block, error) {
	var found []Block
	lines := strings.Split(d.Text, "\n")
	for i := 0; i < len(lines); i++ {
		if isMarker(lines[i]) && (i+1 == len(lines) || !isShell(lines[i+1])) {
			return nil, d.errorf(i, "%s is not followed by a block of shell commands", strings.TrimSpace(lines[i]))
		}
		if !strings.HasPrefix(strings.TrimSpace(lines[i]), fence) {
			continue
		}
		begin := i
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != fence; i++ {
		}
		if i == len(lines) {
			return nil, d.errorf(begin, "the block has no end")
		}
		if !isShell(lines[begin]) {
			continue
		}
		b := Block{Line: begin + 2, Text: strings.Join(append(slices.Clone(lines[begin+1:i]), ""), "\n")}
		if strings.TrimSpace(b.Text) == "" {
			return nil, d.errorf(begin, "the block is empty")
		}
		if begin == 0 || !isMarker(lines[begin-1]) {
			return nil, d.errorf(begin, "the line above a block of shell commands must be %s", wantedMarkers)
		}
		if b.Tested = lines[begin-1] == testMarker; b.Tested && lines[begin] != testedFence {
			return nil, d.errorf(begin, "a block that is run begins with %s", testedFence)
		}
		found = append(found, b)
	}
	return found, nil
}

func (d Document) errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", d.Name, line+1, fmt.Sprintf(format, args...))
}

// isMarker reports whether a line is one of the two markers; one without a reason is none.
func isMarker(line string) bool {
	line = strings.TrimSpace(line)
	reason, ok := strings.CutPrefix(line, reasonMarker)
	reason, ended := strings.CutSuffix(reason, markerEnd)
	return line == testMarker || ok && ended && strings.TrimSpace(reason) != ""
}

func isShell(line string) bool {
	language, ok := strings.CutPrefix(strings.TrimSpace(line), fence)
	return ok && slices.Contains(shells, language)
}

// Script makes one bash session of the blocks that are tested. It names each on its
// standard error before it begins, and ends with the first command that fails.
func (d Document) Script() (script string, tested int, err error) {
	blocks, err := d.Blocks()
	if err != nil {
		return "", 0, err
	}
	var s strings.Builder
	s.WriteString("set -eo pipefail\n")
	for _, b := range blocks {
		if b.Tested {
			tested++
			fmt.Fprintf(&s, "echo '--- %s:%d' >&2\n%s", d.Name, b.Line, b.Text)
		}
	}
	return s.String(), tested, nil
}
