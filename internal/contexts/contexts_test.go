package contexts

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestPath(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"/x":                           {"BERTH_CONFIG": "/x", "XDG_CONFIG_HOME": "/c", "HOME": "/h"},
		"/c/berth/config.json":         {"XDG_CONFIG_HOME": "/c", "HOME": "/h"},
		"/h/.config/berth/config.json": {"XDG_CONFIG_HOME": "relative", "HOME": "/h"},
		"":                             {},
	} {
		if got := Path(func(name string) string { return env[name] }); got != want {
			t.Errorf("%v: %q, want %q", env, got, want)
		}
	}
}

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "config.json")
	none, err := Load(path)
	if err != nil || len(none.Contexts) != 0 {
		t.Fatalf("%+v, %v", none, err)
	}
	f := File{Current: "a", Contexts: map[string]Context{"a": {URL: "http://a", Token: "secret", Tenant: "ten_1", User: "alice"}, "b": {URL: "http://b"}}}
	for range 2 {
		if err := f.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Load(path)
	if err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("%+v, %v", got, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	for _, mode := range []os.FileMode{0o644, 0o640, 0o604, 0o620} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), "secret") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if err := f.Save(path); err != nil { // which mends the mode
		t.Fatal(err)
	}
	if _, err := Load(path); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"", "{", "[]", `{"contexts":1}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := Load(path); err != nil || f.Contexts == nil {
		t.Errorf("%+v, %v", f, err)
	}
	if err := f.Save(""); err == nil {
		t.Error("saved nowhere")
	}
}
