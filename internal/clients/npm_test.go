package clients

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// packages installs js's packages once for each lock file, into a folder that `make
// clean` removes and that neither Git nor Go looks at.
var packages = sync.OnceValues(func() (string, error) {
	lock, err := os.ReadFile("js/package-lock.json")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lock)
	dir := filepath.Join(repository, "bin", ".js", hex.EncodeToString(sum[:8]))
	done := filepath.Join(dir, "done")
	if _, err := os.Stat(done); err == nil {
		return dir, nil
	}
	if err := os.RemoveAll(filepath.Dir(dir)); err != nil { // what an older lock file has left, too
		return "", err
	}
	if err := os.CopyFS(dir, os.DirFS("js")); err != nil {
		return "", err
	}
	// What the packages run at their installation makes optional, compiled parts.
	install := exec.Command("npm", "ci", "--ignore-scripts")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		return "", &installError{err, string(out)}
	}
	return dir, os.WriteFile(done, nil, 0o600)
})

type installError struct {
	err error
	out string
}

func (e *installError) Error() string { return "npm ci: " + e.err.Error() + "\n" + e.out }

// node gives a copy of the folder js with its packages.
func node(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v; %s", err, howToGetNode)
		}
	}
	installed, err := packages()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("js")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(installed, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}
