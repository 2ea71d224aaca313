package contexts

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// FuzzLoad: whatever is in the file is refused, or kept as it was read when it is written again.
func FuzzLoad(f *testing.F) {
	for _, text := range []string{
		`{"current":"a","contexts":{"a":{"url":"http://127.0.0.1:8080","token":"berth_x","tenant":"one","user":"alice"}}}`,
		"", "{}", "null", "[]", `{"contexts":null}`, `{"contexts":{"":{}}}`, `{"contexts":{"a":null}} trailing`, "{", `{"contexts":{"\ud800":{"url":"\u0000"}}}`, "\xff", `{"Current":1}`,
	} {
		f.Add([]byte(text))
	}
	path := filepath.Join(f.TempDir(), "config.json")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := Load(path)
		if err != nil {
			return
		}
		if err := file.Save(path); err != nil {
			t.Fatal(err)
		}
		if again, err := Load(path); err != nil || !reflect.DeepEqual(again, file) {
			t.Errorf("%+v, then %+v, %v", file, again, err)
		}
	})
}
