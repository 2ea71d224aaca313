package secret

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Two keys, and values that releases before the envelopes have sealed with the first.
const (
	vectorKey   = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	vectorOther = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
)

// forms are the key ids that the first key of a keyring can seal with.
func forms(v *Keyring) []string { return []string{v.First(), Enveloped(v.First())} }

func sealAs(t interface {
	Helper()
	Fatal(args ...any)
}, v *Keyring, keyID, plain, context string) Sealed {
	t.Helper()
	if err := v.SealAs(keyID); err != nil {
		t.Fatal(err)
	}
	s, err := v.Seal([]byte(plain), context)
	if err != nil {
		t.Fatal(err)
	}
	if s.KeyID != keyID {
		t.Fatal("sealed as", s.KeyID, "want", keyID)
	}
	return s
}

// TestOlderReleases keeps the form that releases before the envelopes read and write.
func TestOlderReleases(t *testing.T) {
	v := mustVault(t, vectorKey)
	for context, text := range map[string]string{
		"credentials/ins_1": "AQEBAQEBAQEBAQEBBKaEWQ3hSAq7OgA4eQA9r5m84luhlkqex7zrMoa4mg==",
		"webhook/whk_1":     "AgICAgICAgICAgIC6E1419y9ETek68XYUh61UvjZHzCN9oGoomf8pvkDQg==",
		"key-check/dep_1":   "AwMDAwMDAwMDAwMDnS5dum72cnqxM2FerM07iyA2sIkBymCxjjxuBqr9iw==",
	} {
		box, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := v.Open(Sealed{KeyID: "630dcd29", Ciphertext: box}, context); err != nil || string(plain) != "sealed long ago" {
			t.Errorf("%s: %q, %v", context, plain, err)
		}
	}
	s := sealAs(t, v, v.First(), "sealed today", "credentials/ins_1")
	key, _ := base64.StdEncoding.DecodeString(vectorKey)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := aead.Open(nil, s.Ciphertext[:12], s.Ciphertext[12:], []byte("credentials/ins_1"))
	if err != nil || string(plain) != "sealed today" || s.KeyID != "630dcd29" {
		t.Errorf("an older release reads %q, %v, of key %s", plain, err, s.KeyID)
	}
}

// TestEnvelopes draws keys, forms, places and damage: a value opens at its place with its
// key, and nowhere and with nothing else.
func TestEnvelopes(t *testing.T) {
	first, second := mustVault(t, vectorKey), mustVault(t, vectorOther)
	both := mustVault(t, vectorOther+"\n"+vectorKey)
	place := rapid.SampledFrom([]string{"", "credentials/ins_1", "credentials/ins_2", "webhook/whk_1", "data-key:credentials/ins_1", "data-key:"})
	rapid.Check(t, func(rt *rapid.T) {
		plain, at := rapid.String().Draw(rt, "plain"), place.Draw(rt, "place")
		keyID := rapid.SampledFrom(forms(first)).Draw(rt, "form")
		s := sealAs(rt, first, keyID, plain, at)
		for _, v := range []*Keyring{first, both} {
			if got, err := v.Open(s, at); err != nil || string(got) != plain {
				rt.Fatalf("got %q, %v", got, err)
			}
		}
		if _, err := second.Open(s, at); err == nil {
			rt.Fatal("another key opens it")
		}
		if to := place.Draw(rt, "other place"); to != at {
			if got, err := both.Open(s, to); err == nil {
				rt.Fatalf("of %q, it opens at %q: %q", at, to, got)
			}
		}
		for _, other := range slices.Concat(forms(first), forms(second)) {
			if other == keyID {
				continue
			}
			if got, err := both.Open(Sealed{KeyID: other, Ciphertext: s.Ciphertext}, at); err == nil {
				rt.Fatalf("of %s, it opens as %s: %q", keyID, other, got)
			}
		}
		damaged := Sealed{KeyID: keyID, Ciphertext: slices.Clone(s.Ciphertext)}
		switch n := rapid.IntRange(0, len(s.Ciphertext)-1).Draw(rt, "at"); rapid.IntRange(0, 2).Draw(rt, "damage") {
		case 0:
			damaged.Ciphertext[n] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		case 1:
			damaged.Ciphertext = damaged.Ciphertext[:n]
		default:
			damaged.Ciphertext = slices.Insert(damaged.Ciphertext, n, damaged.Ciphertext[n]^1)
		}
		if got, err := both.Open(damaged, at); err == nil {
			rt.Fatalf("damaged, it opens: %q", got)
		}
	})
}

// TestEnvelopeParts exchanges the parts of envelopes, and takes one form for the other.
func TestEnvelopeParts(t *testing.T) {
	v := mustVault(t, vectorKey)
	plain, envelope := v.First(), Enveloped(v.First())
	a, b := sealAs(t, v, envelope, "one", "c/1"), sealAs(t, v, envelope, "two", "c/1")
	if bytes.Equal(a.Ciphertext[:wrappedSize], b.Ciphertext[:wrappedSize]) {
		t.Error("two values have one data key")
	}
	elsewhere := sealAs(t, v, envelope, "one", "c/2")
	key := sealAs(t, v, plain, strings.Repeat("k", keySize), "c/1")
	for what, s := range map[string]Sealed{
		"the data key of another value":   {envelope, slices.Concat(b.Ciphertext[:wrappedSize], a.Ciphertext[wrappedSize:])},
		"the data key of another place":   {envelope, slices.Concat(elsewhere.Ciphertext[:wrappedSize], a.Ciphertext[wrappedSize:])},
		"a wrapped key as a value":        {plain, a.Ciphertext[:wrappedSize]},
		"a value as a wrapped key":        {envelope, slices.Concat(key.Ciphertext, a.Ciphertext[wrappedSize:])},
		"what is in an envelope, without": {plain, a.Ciphertext[wrappedSize:]},
		"a wrapped key only":              {envelope, a.Ciphertext[:wrappedSize]},
		"a wrapped key and less":          {envelope, a.Ciphertext[:wrappedSize+gcmOverhead-1]},
		"a form that is not known":        {"v3:" + v.First(), a.Ciphertext},
		"a form in a form":                {Enveloped(envelope), a.Ciphertext},
	} {
		if got, err := v.Open(s, "c/1"); err == nil {
			t.Errorf("%s: %q", what, got)
		}
	}
}

// FuzzOpen opens what others have written into the database.
func FuzzOpen(f *testing.F) {
	v, err := NewKeyring(vectorKey + "\n" + vectorOther)
	if err != nil {
		f.Fatal(err)
	}
	const place = "credentials/ins_1"
	for _, id := range v.KeyIDs() {
		for _, keyID := range []string{id, Enveloped(id)} {
			s := sealAs(f, v, keyID, "a password", place)
			f.Add(s.KeyID, s.Ciphertext)
			f.Add(s.KeyID, s.Ciphertext[:len(s.Ciphertext)/2])
			f.Add(s.KeyID, append(s.Ciphertext, 0))
		}
	}
	f.Add("", []byte{})
	f.Add("v2:", []byte("x"))
	f.Fuzz(func(t *testing.T, keyID string, ciphertext []byte) {
		plain, err := v.Open(Sealed{KeyID: keyID, Ciphertext: ciphertext}, place)
		if err == nil && string(plain) != "a password" || err != nil && plain != nil {
			t.Errorf("%q of key id %q: %v", plain, keyID, err)
		}
	})
}
