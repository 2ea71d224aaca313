package idempotency

import (
	"strings"
	"testing"
)

// FuzzKey: a key that is taken is short, printable ASCII, which every database keeps as it is.
func FuzzKey(f *testing.F) {
	for _, key := range []string{"", "a", "a b", "ü", "a\n", "\x7f", "\xff", strings.Repeat("x", 255), strings.Repeat("x", 256), `"a\"b"`} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		good := key != "" && len(key) <= maxKeyLength
		for _, c := range []byte(key) {
			good = good && c >= ' ' && c <= '~'
		}
		if err := (&Request{Key: key}).Check(); (err == nil) != good {
			t.Errorf("%q: %v", key, err)
		}
	})
}
