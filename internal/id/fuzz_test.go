package id

import (
	"strings"
	"testing"
	"time"
)

// FuzzWellFormed: an id that may be asked for is short and has nothing that a database, a
// path or a terminal makes something of; and ids that are made are such.
func FuzzWellFormed(f *testing.F) {
	for _, text := range []string{"", "ins_01J9ZQ4T8E4W2Y6N0G5R7K3M1C", "default", "a b", "a\x00", "ins_\u212a", "%2f", "../x", "\xff", strings.Repeat("x", 65)} {
		f.Add(text, int64(0))
	}
	f.Add("job", int64(1<<62))
	f.Fuzz(func(t *testing.T, text string, at int64) {
		if WellFormed(text) {
			if len(text) > maxIDLength || strings.Trim(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") != "" {
				t.Errorf("%q", text)
			}
		}
		if prefix := Subject(text).Prefix(); !strings.HasPrefix(text, prefix) || strings.Contains(prefix, "_") {
			t.Errorf("%q has the prefix %q", text, prefix)
		}
		if lowest := From("ins", time.UnixMilli(at)); !WellFormed(lowest) || Subject(lowest).Prefix() != "ins" {
			t.Errorf("%d: %q", at, lowest)
		}
	})
}
