// Package contexts owns the file in which the client verbs keep servers by name, each with what
// opens it: contexts. It knows nothing of the API. The file holds tokens, so nobody but its owner
// may read it.
package contexts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Context is a server with what opens it there.
type Context struct {
	URL    string `json:"url"`
	Token  string `json:"token,omitempty"`  // of a session, or an API key
	Tenant string `json:"tenant,omitempty"` // to act in; empty: the token's
	User   string `json:"user,omitempty"`   // for people
	// CAFile is the file with the certificates of authorities that the server is trusted by; empty:
	// the system's are enough.
	CAFile string `json:"ca_file,omitempty"`
}

// File is all contexts, and which one is used.
type File struct {
	Current  string             `json:"current,omitempty"`
	Contexts map[string]Context `json:"contexts"`
}

// Path returns where the file is: $BERTH_CONFIG, or berth/config.json in $XDG_CONFIG_HOME or
// in ~/.config. Empty: there is no place for one.
func Path(getenv func(string) string) string {
	if path := getenv("BERTH_CONFIG"); path != "" {
		return path
	}
	if dir := getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) { // others are to be ignored, says the XDG specification
		return filepath.Join(dir, "berth", "config.json")
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".config", "berth", "config.json")
	}
	return ""
}

// Load reads the file. One that is missing has no contexts; one that others can read is refused.
func Load(path string) (File, error) {
	f := File{Contexts: map[string]Context{}}
	if path == "" {
		return f, nil
	}
	file, err := os.Open(path) //nolint:gosec // the user names the file
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return File{}, fmt.Errorf("read the contexts: %w", err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	if err != nil {
		return File{}, fmt.Errorf("read the contexts: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return File{}, fmt.Errorf("%s can be read by others (mode %04o) and holds tokens; log out everywhere if somebody may have done so, then: chmod 600 %s", path, mode, path)
	}
	if err := json.NewDecoder(file).Decode(&f); err != nil {
		return File{}, fmt.Errorf("%s is no file of contexts; mend or remove it: %w", path, err)
	}
	if f.Contexts == nil {
		f.Contexts = map[string]Context{}
	}
	return f, nil
}

// Save writes the file in one go: whoever reads it meanwhile sees what was there before, and a
// crash leaves one or the other.
func (f File) Save(path string) (err error) {
	if path == "" {
		return errors.New("there is no place for the contexts; set BERTH_CONFIG to a file")
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	file, err := os.CreateTemp(dir, ".config-*") // with mode 0600
	if err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write the contexts: %w", err), os.Remove(file.Name()))
		}
	}()
	_, err = file.Write(append(text, '\n'))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
