package secret

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

func mustVault(t *testing.T, text string) *Keyring {
	t.Helper()
	v, err := NewKeyring(text)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return v
}

func mustSeal(t *testing.T, v *Keyring, plain []byte, context string) Sealed {
	t.Helper()
	s, err := v.Seal(plain, context)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestVaultRoundTrip(t *testing.T) {
	v := mustVault(t, MasterKey())
	for _, plain := range [][]byte{nil, {0}, []byte("pässword"), bytes.Repeat([]byte("x"), 1<<20)} {
		a, b := mustSeal(t, v, plain, "credentials/ins_1"), mustSeal(t, v, plain, "credentials/ins_1")
		if bytes.Equal(a.Ciphertext, b.Ciphertext) {
			t.Error("the same is sealed in the same way twice")
		}
		if len(plain) > 1 && bytes.Contains(a.Ciphertext, plain) {
			t.Error("the plaintext is in the ciphertext")
		}
		if a.KeyID == "" {
			t.Error("there is no key id beside it")
		}
		for _, s := range []Sealed{a, b} {
			if got, err := v.Open(s, "credentials/ins_1"); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%d bytes came back as %d, %v", len(plain), len(got), err)
			}
		}
	}
}

func TestVaultRefuses(t *testing.T) {
	v := mustVault(t, MasterKey())
	sealed := mustSeal(t, v, []byte("topsecret"), "credentials/ins_1")
	other := mustSeal(t, v, []byte("another"), "credentials/ins_1")
	change := func(f func(*Sealed)) Sealed {
		s := Sealed{KeyID: sealed.KeyID, Ciphertext: slices.Clone(sealed.Ciphertext)}
		f(&s)
		return s
	}
	cases := map[string]Sealed{
		"cut off":            change(func(s *Sealed) { s.Ciphertext = s.Ciphertext[:len(s.Ciphertext)-1] }),
		"longer":             change(func(s *Sealed) { s.Ciphertext = append(s.Ciphertext, 0) }),
		"empty":              change(func(s *Sealed) { s.Ciphertext = nil }),
		"a nonce only":       change(func(s *Sealed) { s.Ciphertext = s.Ciphertext[:12] }),
		"less than a nonce":  change(func(s *Sealed) { s.Ciphertext = s.Ciphertext[:5] }),
		"another one's head": change(func(s *Sealed) { copy(s.Ciphertext, other.Ciphertext[:12]) }),
		"an unknown key":     change(func(s *Sealed) { s.KeyID = "00000000" }),
		"no key":             change(func(s *Sealed) { s.KeyID = "" }),
	}
	for i := range sealed.Ciphertext {
		cases["changed at "+string(rune('a'+i))] = change(func(s *Sealed) { s.Ciphertext[i] ^= 1 })
	}
	for what, s := range cases {
		if got, err := v.Open(s, "credentials/ins_1"); err == nil || got != nil || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s: got %q, %v", what, got, err)
		}
	}
	for _, context := range []string{"credentials/ins_2", "credentials/ins_1 ", "", "delivery/ins_1"} {
		if _, err := v.Open(sealed, context); err == nil {
			t.Errorf("it opens as %q, too", context)
		}
	}
}

func TestVaultRotation(t *testing.T) {
	oldKey, newKey := MasterKey(), MasterKey()
	before, during, after := mustVault(t, oldKey), mustVault(t, newKey+"\n"+oldKey), mustVault(t, newKey)
	sealedOld, sealedNew := mustSeal(t, before, []byte("old"), "c"), mustSeal(t, during, []byte("new"), "c")
	for _, test := range []struct {
		v    *Keyring
		s    Sealed
		want string
	}{{before, sealedOld, "old"}, {before, sealedNew, ""}, {during, sealedOld, "old"}, {during, sealedNew, "new"}, {after, sealedOld, ""}, {after, sealedNew, "new"}} {
		got, err := test.v.Open(test.s, "c")
		if string(got) != test.want || (err == nil) != (test.want != "") {
			t.Errorf("got %q, %v, want %q", got, err, test.want)
		}
		if err != nil && (!strings.Contains(err.Error(), MasterKeyOf(test.s.KeyID)) || !strings.Contains(err.Error(), "BERTH_MASTER_KEY")) {
			t.Errorf("it does not say which key is missing, and where it belongs: %v", err)
		}
	}
	if sealedOld.KeyID == sealedNew.KeyID {
		t.Error("two keys have one id")
	}
	if ids := during.KeyIDs(); !slices.Equal(ids, []string{after.First(), before.First()}) {
		t.Errorf("the keys are %v", ids)
	}
	var unknown *UnknownKeyError
	for _, keyID := range []string{before.First(), Enveloped(before.First()), "", "v2:", "v3:" + after.First()} {
		if err := after.SealAs(keyID); !errors.As(err, &unknown) || after.Sealing() != Enveloped(after.First()) {
			t.Errorf("it seals as %q: %v, %s", keyID, err, after.Sealing())
		}
	}
}

func TestVaultKeyText(t *testing.T) {
	a, b := MasterKey(), MasterKey()
	first := mustSeal(t, mustVault(t, a), nil, "").KeyID
	for _, text := range []string{
		a, a + "\n", a + "\r\n" + b + "\r\n", "\n\n " + a + " \n" + b, a + "," + b, a + ", " + b, "# made on Monday\n" + a, "  # the old one: stale, never use\n" + a + "\n#" + b,
	} {
		if got := mustSeal(t, mustVault(t, text), nil, "").KeyID; got != first {
			t.Errorf("%q: the active key is %s, want %s", text, got, first)
		}
	}
	short := base64.StdEncoding.EncodeToString(make([]byte, 31))
	for _, text := range []string{"", "\n", "# only a comment", "nonsense", short, a + "\n" + short, a + b, strings.TrimRight(a, "="), "0123456789abcdef0123456789abcdef"} {
		if v, err := NewKeyring(text); err == nil || v != nil {
			t.Errorf("%q was taken", text)
		} else if text != "" && text != "\n" && strings.Contains(err.Error(), text) {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
}

func TestFileOrMakeAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "folder", "admin.key")
	var contents [20]string
	var made [20]bool
	var all errgroup.Group
	for i := range contents {
		all.Go(func() (err error) {
			contents[i], made[i], err = FileOrMake(path, APIKey)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	makers := 0
	for i := range contents {
		if contents[i] != contents[0] || contents[i] == "" {
			t.Fatalf("they got %q", contents)
		}
		if made[i] {
			makers++
		}
	}
	if makers != 1 {
		t.Errorf("%d have made it", makers)
	}
	for file, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %o", file, info.Mode(), err, want)
		}
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("the folder holds %v, %v", files, err)
	}
}

func TestFileOrMakeRefuses(t *testing.T) {
	folder := t.TempDir()
	empty := filepath.Join(folder, "empty")
	if err := os.WriteFile(empty, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, path := range map[string]string{"an empty file": empty, "a folder": folder, "below a file": filepath.Join(empty, "key")} {
		if content, made, err := FileOrMake(path, APIKey); err == nil || content != "" || made {
			t.Errorf("%s: %q, %v, %v", what, content, made, err)
		}
	}
}

func TestFileOrValue(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("  of the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	slash := "/" + base64.StdEncoding.EncodeToString(make([]byte, keySize))[1:] // base64 may begin like a path
	for text, want := range map[string]string{"a value": "a value", "": "", slash: slash, file: "of the file"} {
		if got, err := FileOrValue(text); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"/run/secrets/not-there-at-all", "./not-there", filepath.Dir(file), file + "/below"} {
		if got, err := FileOrValue(text); err == nil {
			t.Errorf("%q: a path that is none became the secret %q", text, got)
		}
	}
}

func TestGenerator(t *testing.T) {
	var g Random
	seen := map[string]bool{}
	for range 200 {
		for kind, want := range map[string]*regexp.Regexp{
			g.Password(28).Reveal():    regexp.MustCompile(`^[A-Za-z0-9]{28}$`),
			g.SigningSecret().Reveal(): regexp.MustCompile(`^whsec_[A-Za-z0-9+/]{43}=$`),
			APIKey():                   regexp.MustCompile(`^berth_[A-Za-z0-9]{40}$`),
			MasterKey():                regexp.MustCompile(`^[A-Za-z0-9+/]{43}=$`),
		} {
			if !want.MatchString(kind) || seen[kind] {
				t.Fatalf("%q: want a new %s", kind, want)
			}
			seen[kind] = true
		}
	}
	if got := g.Password(0).Reveal(); got != "" {
		t.Errorf("no characters: %q", got)
	}
	counts := map[rune]int{}
	for _, c := range g.Password(62_000).Reveal() {
		counts[c]++
	}
	for _, c := range alphabet { // 1000 each; the bound is over 6 standard deviations away
		if counts[c] < 800 || counts[c] > 1200 {
			t.Errorf("%c comes %d times, want about 1000", c, counts[c])
		}
	}
}
