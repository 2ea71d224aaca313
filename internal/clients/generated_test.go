package clients

import (
	"os"
	"path/filepath"
	"testing"
)

// TestGenerated has clients generated from both documents that the server gives,
// compiles them, and takes instances through their life with them: create, wait, config,
// cancel, delete.
func TestGenerated(t *testing.T) {
	s := startDev(t)
	dir := t.TempDir()
	newer, older := s.documents(t, dir)
	settings := []string{"BERTH_URL=" + s.url, "BERTH_API_KEY=" + s.key}

	t.Run("lint", func(t *testing.T) {
		js := node(t)
		run(t, js, nil, "node", "lint.mjs", newer, older)
		for _, document := range []string{newer, older} {
			run(t, js, nil, "node", "node_modules/@apidevtools/swagger-cli/bin/swagger-cli.js", "validate", document)
		}
	})
	t.Run("go", func(t *testing.T) {
		module := generators(t)
		for _, document := range []string{older, newer} { // the programs are built from what came last
			run(t, module, plainGo, "go", "tool", "oapi-codegen", "-generate", "types,client", "-package", "berth", "-o", "oapi/berth/berth.go", document)
			run(t, module, plainGo, "go", "tool", "ogen", "--target", "ogen/berth", "--package", "berth", "--clean", document)
			run(t, module, plainGo, "go", "build", "-o", "bin/", "./oapi", "./ogen")
		}
		for _, program := range []string{"oapi", "ogen"} {
			t.Run(program, func(t *testing.T) { run(t, module, settings, filepath.Join(module, "bin", program)) })
		}
	})
	t.Run("typescript", func(t *testing.T) {
		js := node(t)
		for _, document := range []string{older, newer} {
			run(t, js, nil, "node", "node_modules/openapi-typescript/bin/cli.js", document, "--output", "generated/openapi.d.ts")
			run(t, js, nil, "node", "node_modules/typescript/bin/tsc", "--project", ".")
		}
		run(t, js, settings, "node", "built/lifecycle.js")
	})
}

// plainGo builds as `make build` does: without the race detector, which is for the tests
// alone, and without the paths of temporary folders, which would keep the compiler from
// finding its last work.
var plainGo = []string{"CGO_ENABLED=0", "GOFLAGS=-trimpath"}

// generators gives a copy of the module, in which the generated code is made.
func generators(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("generators")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"oapi/berth", "ogen/berth"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
