package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

var (
	codeSpan = regexp.MustCompile("`[^`]*`")
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`^#{1,6} +(.+)$`)
	linkText = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// Every link between the documents leads to a file, and to a heading of it.
func TestLinks(t *testing.T) {
	documents := all(t)
	anchors := map[string]map[string]bool{}
	for _, d := range documents {
		anchors[d.Name] = d.anchors()
	}
	for _, d := range documents {
		for n, line := range d.prose() {
			for _, found := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(line, ""), -1) {
				target := found[1]
				if strings.HasPrefix(target, "https://") || strings.HasPrefix(target, "http://") {
					continue
				}
				file, anchor, _ := strings.Cut(target, "#")
				name := d.Name
				if file != "" {
					name = path.Join(path.Dir(d.Name), file)
				}
				if _, err := os.Stat(filepath.Join("../..", name)); err != nil || path.IsAbs(file) || strings.HasPrefix(name, "..") {
					t.Errorf("%s:%d: %s leads to no file of the repository", d.Name, n+1, target)
				} else if anchor != "" && !anchors[name][anchor] {
					t.Errorf("%s:%d: %s has no heading for #%s", d.Name, n+1, name, anchor)
				}
			}
		}
	}
}

// prose gives the lines of a document; those of fenced blocks are empty.
func (d Document) prose() []string {
	lines := strings.Split(d.Text, "\n")
	inside := false
	for i, line := range lines {
		isFence := strings.HasPrefix(strings.TrimSpace(line), fence)
		if inside || isFence {
			lines[i] = ""
		}
		inside = inside != isFence
	}
	return lines
}

func (d Document) headings() []string {
	var all []string
	for _, line := range d.prose() {
		if m := heading.FindStringSubmatch(line); m != nil {
			all = append(all, strings.TrimSpace(m[1]))
		}
	}
	return all
}

// anchors gives the names by which a document's headings are linked to, as GitHub makes them.
func (d Document) anchors() map[string]bool {
	all := map[string]bool{}
	for _, h := range d.headings() {
		name := anchorOf(h)
		for n, first := 1, name; all[name]; n++ {
			name = first + "-" + strconv.Itoa(n)
		}
		all[name] = true
	}
	return all
}

func anchorOf(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(linkText.ReplaceAllString(heading, "$1")) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}

func TestAnchors(t *testing.T) {
	got := Document{Text: "# A `b_c`, d-e!\n## [F](x) g\n```\n# no\n```\n## F g\n"}.anchors()
	for _, want := range []string{"a-b_c-d-e", "f-g", "f-g-1"} {
		if !got[want] || len(got) != 3 {
			t.Errorf("got %v, want %s", got, want)
		}
	}
}
