package tenant

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/id"
)

// The vectors are made by hand: the form must not change, since scanners know it.
func TestKeyForm(t *testing.T) {
	const known = "berth_000000000000000000000000000000"
	for text, want := range map[string]bool{
		known + checksum(known):                      true,
		known + "000000":                             false,
		strings.ToUpper(known + checksum(known)):     false,
		known + checksum(known) + "0":                false,
		known[:len(known)-1] + "-" + checksum(known): false,
		"berth_": false,
		"":       false,
		"berth_é0000000000000000000000000000" + "000000": false,
	} {
		if got := WellFormed(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if got := checksum("berth_"); got != "1mDZVO" {
		t.Errorf("the CRC-32 of the prefix is %s now", got)
	}
}

func TestKeysAreFresh(t *testing.T) {
	seen := map[string]bool{}
	for range 2000 {
		token := keyForm.fresh().Reveal()
		if seen[token] || !WellFormed(token) || !id.WellFormed(token) {
			t.Fatalf("%q", token)
		}
		seen[token] = true
		// Any one character that is wrong is noticed, and so are any two that change places.
		for i := len(TokenPrefix); i+1 < len(token); i++ {
			for _, wrong := range []string{token[:i] + "~" + token[i+1:], token[:i] + token[i+1:i+2] + token[i:i+1] + token[i+2:]} {
				if wrong != token && WellFormed(wrong) {
					t.Fatalf("%q passes for %q", wrong, token)
				}
			}
		}
	}
}

func TestKeyIsValid(t *testing.T) {
	now := time.Unix(1e9, 0)
	for name, test := range map[string]struct {
		key  Key
		want bool
	}{
		"for ever":  {Key{}, true},
		"not over":  {Key{ExpiresAt: now.Add(1)}, true},
		"just over": {Key{ExpiresAt: now}, false},
		"revoked":   {Key{RevokedAt: now.Add(time.Hour)}, false},
	} {
		if test.key.Valid(now) != test.want {
			t.Error(name)
		}
	}
}

func FuzzWellFormed(f *testing.F) {
	f.Add(keyForm.fresh().Reveal())
	f.Add("berth_\x00")
	f.Fuzz(func(t *testing.T, text string) {
		if WellFormed(text) && (!strings.HasPrefix(text, TokenPrefix) || !id.WellFormed(text)) {
			t.Errorf("%q", text)
		}
	})
}
