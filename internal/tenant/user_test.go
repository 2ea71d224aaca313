package tenant

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/berth-project/berth/internal/id"
)

// TestTokensAreOfOneForm: no token passes for one of another form, and all are masked.
func TestTokensAreOfOneForm(t *testing.T) {
	forms := []form{keyForm, sessionForm, invitationForm, resetForm}
	for _, made := range forms {
		token := made.fresh().Reveal()
		for _, f := range forms {
			if f.fits(token) != (f == made) {
				t.Errorf("%s for %s", token, f)
			}
		}
		if !IsToken(token) || !strings.HasPrefix(token, TokenPrefix) || !id.WellFormed(token) {
			t.Error(token)
		}
	}
}

func TestNormalLogin(t *testing.T) {
	for text, want := range map[string]string{
		"alice": "alice", " Alice\t": "alice", "A.B+c_d-e@Example.COM": "a.b+c_d-e@example.com", "0": "0", strings.Repeat("x", 100): strings.Repeat("x", 100),
		"": "", " ": "", "a b": "", "a@": "", "@a": "", "a@b@c": "", ".a": "", "a\n": "a", "a\nb": "", "a\x00": "", "ünal": "", "\u212Aelvin": "", "аlice": "",
		strings.Repeat("x", 101): "", "\xff": "",
	} {
		if got, ok := normalLogin(text); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
}

func FuzzNormalLogin(f *testing.F) {
	for _, seed := range []string{"alice", " Alice@Example.com ", "\u212A", "a\x00", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		login, ok := normalLogin(text)
		if again, still := normalLogin(login); ok && (!still || again != login) {
			t.Errorf("%q gives %q, which gives %q", text, login, again)
		}
		for _, c := range []byte(login) {
			if c <= ' ' || c > '~' {
				t.Errorf("%q gives %q", text, login)
			}
		}
	})
}

func FuzzIsToken(f *testing.F) {
	for _, form := range []form{keyForm, sessionForm, invitationForm, resetForm} {
		f.Add(form.fresh().Reveal())
	}
	f.Fuzz(func(t *testing.T, text string) {
		if IsToken(text) && !id.WellFormed(text) {
			t.Errorf("%q", text)
		}
	})
}

// FuzzShort: whatever is to be kept of a request is kept as text that every database takes.
func FuzzShort(f *testing.F) {
	for _, text := range []string{"", "GET /x", strings.Repeat("ä", 60), strings.Repeat("\u20ac", 40), "\xff", strings.Repeat("\xff", 200), "a\x00", "\xf0\x9f"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, most := range []int{maxOn, maxOrigin, maxActor, maxDetail} {
			got := short(text, most)
			if len(got) > most || !utf8.ValidString(got) || utf8.ValidString(text) && len(text) <= most && got != text {
				t.Errorf("%q: %q", text, got)
			}
		}
	})
}
