package secret

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// FuzzMasterKey: a text is a list of keys, of which the first seals, or refused without a word
// of what may be a key.
func FuzzMasterKey(f *testing.F) {
	first, second := MasterKey(), MasterKey()
	for _, text := range []string{
		first, first + "\n" + second + "\n", "# a comment\n\n " + first + "\r\n", first + "," + second, "", "#", ",", first[:40], first + "x", strings.ToLower(first), "\x00", "\xff",
		"not-a-key-but-a-password", strings.Repeat("A", 43) + "=",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ring, err := NewKeyring(text)
		if err != nil {
			for _, word := range keyWords(text) {
				if len(word) > 12 && strings.Contains(err.Error(), word) {
					t.Errorf("%q: %v", text, err)
				}
			}
			return
		}
		if !slices.Contains(ring.KeyIDs(), ring.First()) {
			t.Errorf("%q: the first key is none of them", text)
		}
		sealed, err := ring.Seal([]byte("x"), "place")
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := ring.Open(sealed, "place"); err != nil || string(plain) != "x" {
			t.Errorf("%q: %q, %v", text, plain, err)
		}
	})
}

// FuzzSealed: what is sealed is opened as it was, in its place, and nothing else is opened.
func FuzzSealed(f *testing.F) {
	f.Add([]byte("p4ssw0rd"), "credentials/ins_1", []byte("made up"), uint16(3))
	f.Add([]byte{}, "", []byte{}, uint16(0))
	f.Add([]byte("x"), "a\x00b", bytes.Repeat([]byte{0}, 28), uint16(65535))
	ring, err := NewKeyring(MasterKey())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, plain []byte, place string, madeUp []byte, at uint16) {
		sealed, err := ring.Seal(plain, place)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ring.Open(sealed, place); err != nil || !bytes.Equal(back, plain) {
			t.Fatalf("%q is opened as %q, %v", plain, back, err)
		}
		changed := slices.Clone(sealed.Ciphertext)
		changed[int(at)%len(changed)] ^= 1
		for what, s := range map[string]Sealed{
			"changed": {sealed.KeyID, changed}, "cut": {sealed.KeyID, sealed.Ciphertext[:int(at)%len(changed)]}, "made up": {sealed.KeyID, madeUp}, "of another key": {"00000000", sealed.Ciphertext},
		} {
			if _, err := ring.Open(s, place); err == nil {
				t.Errorf("what is %s is opened", what)
			}
		}
		if _, err := ring.Open(sealed, place+"x"); err == nil {
			t.Error("it is opened in another place")
		}
	})
}
