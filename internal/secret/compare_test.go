package secret

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// calls reports whether a piece of code calls a function or method of one of the names.
func calls(n ast.Node, names ...string) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return !found
		}
		name := ""
		switch f := call.Fun.(type) {
		case *ast.Ident:
			name = f.Name
		case *ast.SelectorExpr:
			name = f.Sel.Name
		}
		for _, want := range names {
			found = found || name == want
		}
		return !found
	})
	return found
}

// TestSecretsAreComparedInConstantTime reads the whole program: no secret, and no hash of a
// token, is compared by what stops at the first difference. How long the comparison takes
// would tell how much of a guess is right.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	root, files, constant := "../..", 0, 0
	set := token.NewFileSet()
	for _, folder := range []string{"api", "cmd", "internal", "worker"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(filepath.Dir(path), "test") {
				return err
			}
			file, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			files++
			ast.Inspect(file, func(n ast.Node) bool {
				if hasty(n) {
					t.Errorf("%s: compare secrets with crypto/subtle, by their hashes", set.Position(n.Pos()))
				}
				if f, ok := n.(*ast.FuncDecl); ok && calls(f, "ConstantTimeCompare") {
					constant++
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 200 || constant == 0 { // the admin key is compared somewhere
		t.Errorf("%d files, %d comparisons", files, constant)
	}
}

// hasty reports whether a piece of code compares what must take the same time.
func hasty(n ast.Node) bool {
	secrets := []string{"Reveal", "HashToken"}
	switch n := n.(type) {
	case *ast.BinaryExpr:
		return (n.Op == token.EQL || n.Op == token.NEQ) && (calls(n.X, secrets...) || calls(n.Y, secrets...)) && !empty(n.X) && !empty(n.Y) && !calls(n, "len")
	case *ast.CallExpr:
		f, ok := n.Fun.(*ast.SelectorExpr)
		if !ok || !strings.Contains(" Equal EqualFold Compare HasPrefix HasSuffix ", " "+f.Sel.Name+" ") {
			return false
		}
		for _, argument := range n.Args {
			if calls(argument, secrets...) {
				return true
			}
		}
	}
	return false
}

func empty(e ast.Expr) bool {
	literal, ok := e.(*ast.BasicLit)
	return ok && literal.Value == `""`
}

// TestHasty: the reader of the program sees what it looks for.
func TestHasty(t *testing.T) {
	for code, want := range map[string]bool{
		`a.Reveal() == b`: true, `b != x.AdminKey.Reveal()`: true, `tenant.HashToken(t) == k.Hash`: true, `strings.EqualFold(a.Reveal(), b)`: true, `bytes.Equal([]byte(a.Reveal()), b)`: true,
		`a.Reveal() == ""`: false, `a == b`: false, `f(a.Reveal())`: false, `len(a.Reveal()) == 3`: false,
	} {
		e, err := parser.ParseExpr(code)
		if err != nil {
			t.Fatal(err)
		}
		if hasty(e) != want {
			t.Error(code)
		}
	}
}
