package secret

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// FileOrMake gives the content of a secret file, which only its owner can read,
// and makes it if there is none. It says whether it made it. Of several processes
// that do so at once, one makes it and all get the same.
func FileOrMake(path string, fresh func() string) (content string, made bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", false, fmt.Errorf("folder of %s: %w", path, err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return "", false, fmt.Errorf("make %s: %w", path, err)
	}
	defer os.Remove(temporary.Name()) //nolint:errcheck // gone when it became the file
	_, err = temporary.WriteString(fresh() + "\n")
	if err = errors.Join(err, temporary.Close()); err != nil {
		return "", false, fmt.Errorf("write %s: %w", path, err)
	}
	switch err := os.Link(temporary.Name(), path); { // fails if it is there: never half, never twice
	case err == nil:
		made = true
	case !errors.Is(err, fs.ErrExist):
		return "", false, fmt.Errorf("make %s: %w", path, err)
	}
	b, err := os.ReadFile(path) //nolint:gosec // the path is the operator's
	if err != nil {
		return "", false, fmt.Errorf("read %s: %w", path, err)
	}
	if content = strings.TrimSpace(string(b)); content == "" {
		return "", false, fmt.Errorf("%s is empty; delete it to have a new one generated", path)
	}
	return content, made, nil
}

// FileOrValue gives the content of a file, if the text is a path ("/…" or "./…"), or
// else the text itself. A master key may begin with a slash, too, and is known by its
// form; anything else that looks like a path and is none is an error, lest a mistyped
// path becomes the secret.
func FileOrValue(text string) (string, error) {
	if !strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "./") {
		return text, nil
	}
	b, err := os.ReadFile(text) //nolint:gosec // the path is the operator's
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if _, notKeys := NewKeyring(text); notKeys == nil {
		return text, nil
	}
	return "", fmt.Errorf("read secret: %w", err)
}
