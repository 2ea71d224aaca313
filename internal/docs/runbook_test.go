package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const runbook = "docs/operations.md"

// The sections of the runbook.
const (
	codesSection  = "Error codes"
	errorsSection = "ERROR log lines"
	warnSection   = "WARN log lines"
)

// writtenByOthers are the functions whose log lines at ERROR have texts that Berth does not
// write, and the entry of the runbook that covers each.
var writtenByOthers = map[string]string{"worker: Fatal": "Messages of Asynq"}

// source is what the runbook must cover, and where each was found.
type source struct {
	codes  map[string]string // string constants of a type Code, and values of maps to it
	errors map[string]string // messages of log lines at ERROR
	logged map[string]bool   // messages of log lines at any level
}

// Every error code and every log line at ERROR has an entry in the runbook, and the runbook
// has none that does not exist any more.
func TestRunbook(t *testing.T) {
	found := readSource(t)
	var document Document
	for _, d := range all(t) {
		if d.Name == runbook {
			document = d
		}
	}
	for _, part := range []struct {
		section string
		want    map[string]string
	}{{codesSection, found.codes}, {errorsSection, found.errors}} {
		entries := document.entries(part.section)
		for name, where := range part.want {
			if !slices.Contains(entries, name) {
				t.Errorf("%s has no entry %q below %q, which is in %s", runbook, name, part.section, where)
			}
		}
		for _, name := range entries {
			if part.want[name] == "" {
				t.Errorf("%s has the entry %q below %q, which is not in the source any more", runbook, name, part.section)
			}
		}
	}
	for _, message := range document.firstColumn(warnSection) {
		if !found.logged[message] {
			t.Errorf("%s has the line %q below %q, which no log line of the source says any more", runbook, message, warnSection)
		}
	}
	if len(found.codes) < 20 || len(found.errors) < 3 {
		t.Errorf("only %d codes and %d messages were found: is the source read as it is written now?", len(found.codes), len(found.errors))
	}
}

// entries gives the headings of the third level in a section, without their code quotes.
func (d Document) entries(section string) []string {
	var found []string
	for _, line := range d.section(section) {
		if h, ok := strings.CutPrefix(line, "### "); ok {
			found = append(found, strings.Trim(strings.TrimSpace(h), "`"))
		}
	}
	return found
}

var quoted = regexp.MustCompile("`([^`]+)`")

// firstColumn gives what is quoted in the first column of a section's table.
func (d Document) firstColumn(section string) []string {
	var found []string
	for _, line := range d.section(section) {
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[0], -1) {
			found = append(found, m[1])
		}
	}
	return found
}

func (d Document) section(name string) []string {
	lines := d.prose()
	begin := slices.Index(lines, "## "+name)
	if begin < 0 {
		return nil
	}
	end := slices.IndexFunc(lines[begin+1:], func(line string) bool { return strings.HasPrefix(line, "## ") })
	if end < 0 {
		return lines[begin+1:]
	}
	return lines[begin+1 : begin+1+end]
}

// testSupport are packages that no running Berth contains.
var testSupport = []string{"provisiontest", "storetest", "testenv", "bench"}

func readSource(t *testing.T) source {
	t.Helper()
	found := source{codes: map[string]string{}, errors: map[string]string{}, logged: map[string]bool{}}
	for _, top := range []string{"api", "worker", "cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join("../..", top), func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && slices.Contains(testSupport, entry.Name()):
				return filepath.SkipDir
			case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err == nil {
				found.read(t, strings.TrimPrefix(filepath.ToSlash(path), "../../"), file)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func (s source) read(t *testing.T, name string, file *ast.File) {
	for _, declaration := range file.Decls {
		function := ""
		if f, ok := declaration.(*ast.FuncDecl); ok {
			function = filepath.ToSlash(filepath.Dir(name)) + ": " + f.Name.Name
		}
		ast.Inspect(declaration, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if isCode(n.Type) {
					s.addCodes(name, n.Values)
				}
			case *ast.CompositeLit:
				if m, ok := n.Type.(*ast.MapType); ok && isCode(m.Value) {
					for _, element := range n.Elts {
						s.addCodes(name, []ast.Expr{element.(*ast.KeyValueExpr).Value})
					}
				}
			case *ast.CallExpr:
				s.addCall(t, name, function, n)
			}
			return true
		})
	}
}

// isCode reports whether a type is called Code, in whatever package.
func isCode(expression ast.Expr) bool {
	switch e := expression.(type) {
	case *ast.Ident:
		return e.Name == "Code"
	case *ast.SelectorExpr:
		return e.Sel.Name == "Code"
	default:
		return false
	}
}

func (s source) addCodes(name string, values []ast.Expr) {
	for _, value := range values {
		if text, ok := literal(value); ok {
			s.codes[text] = name
		}
	}
}

// addCall notes the message of a log line. What is called Error without an argument gives
// the words of an error, and what is called so on anything but a log is no log line.
func (s source) addCall(t *testing.T, name, function string, call *ast.CallExpr) {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	message, isError := -1, false
	switch method := selector.Sel.Name; method {
	case "ErrorContext", "WarnContext", "InfoContext", "DebugContext":
		message, isError = 1, method == "ErrorContext"
	case "Error", "Warn", "Info", "Debug":
		if isLog(selector.X) {
			message, isError = 0, method == "Error"
		}
	case "Log", "LogAttrs":
		message = 2
		isError = len(call.Args) > 1 && strings.HasSuffix(nameOf(call.Args[1]), "LevelError")
	}
	if message < 0 || len(call.Args) <= message {
		return
	}
	text, ok := literal(call.Args[message])
	if ok {
		s.logged[text] = true
	}
	switch {
	case !isError:
	case ok:
		s.errors[text] = name
	case writtenByOthers[function] != "":
		s.errors[writtenByOthers[function]] = name
	default:
		t.Errorf("%s: the function %q logs an ERROR whose message is not a literal: write it as one, so that it can have an entry in %s", name, function, runbook)
	}
}

// isLog reports whether an expression is called as loggers are: log, l.log, cfg.Log, slog.
func isLog(expression ast.Expr) bool {
	name := strings.ToLower(nameOf(expression))
	return strings.HasSuffix(name, "log") || strings.HasSuffix(name, "logger")
}

func nameOf(expression ast.Expr) string {
	switch e := expression.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	default:
		return ""
	}
}

// literal gives the text of a string that is written in the source, in one piece or several.
func literal(expression ast.Expr) (string, bool) {
	switch e := expression.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		left, ok := literal(e.X)
		right, also := literal(e.Y)
		return left + right, ok && also
	default:
		return "", false
	}
}
