package api

import (
	"encoding/json"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/berth-project/berth/internal/tenant"
)

// FuzzCookie: the session's cookie is read as the token that it was made of, also among
// others, and what is in a header is never more than one text without signs of control.
func FuzzCookie(f *testing.F) {
	for _, text := range []string{"", "berth_session=x", `berth_session="x y"`, "a=b; berth_session=x; berth_session=y", "berth_session=\x00", "berth_session=ä", "berth_session", "=;,", "Berth_Session=x"} {
		f.Add(text, "0123456789abcdefghijABCDEFGHIJ000000")
	}
	f.Fuzz(func(t *testing.T, header, token string) {
		if got := cookieOf(&http.Request{Header: http.Header{"Cookie": {header}}}); strings.ContainsFunc(got, func(c rune) bool { return c < ' ' || c == 0x7f || c == ';' }) {
			t.Errorf("%q gives %q", header, got)
		}
		token = "berth_session_" + token
		set := setCookie(caller{}, token, time.Unix(1_700_000_000, 0))
		if strings.ContainsAny(set, "\r\n") || strings.Count(set, ";") > 6 {
			t.Errorf("%q", set)
		}
		if strings.Trim(token, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") != "" { // no token
			if tenant.IsSession(token) {
				t.Errorf("%q", token)
			}
			return
		}
		pair, _, _ := strings.Cut(set, ";")
		for _, sent := range []string{pair, "a=b; " + pair, pair + "; c=" + "d"} {
			if got := cookieOf(&http.Request{Header: http.Header{"Cookie": {sent}}}); got != token {
				t.Errorf("%q is read as %q", sent, got)
			}
		}
	})
}

// FuzzIdempotencyKey: a key is the same bare and quoted, and a quotation is whole.
func FuzzIdempotencyKey(f *testing.F) {
	for _, key := range []string{"", "a", `a"b`, `\`, `"`, `"a"`, `"a\"`, `"a" b`, `"\x"`, " a ", "\xff", `""`} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, wrong := idempotencyKey([]string{text})
		if (key == "") == (wrong == "") && key != "" || wrong == "" && key == "" {
			t.Errorf("%q: %q, %q", text, key, wrong)
		}
		if text == "" {
			return
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
		if key, wrong := idempotencyKey([]string{quoted}); key != text || wrong != "" {
			t.Errorf("%s is read as %q, %s", quoted, key, wrong)
		}
		if bare := strings.TrimSpace(text); !strings.HasPrefix(bare, `"`) && key != bare {
			t.Errorf("%q is read as %q", text, key)
		}
	})
}

// FuzzJSON: what is taken for a body is UTF-8, and no object in it has a name twice, so that
// all parsers read the same.
func FuzzJSON(f *testing.F) {
	for _, body := range []string{"", "{}", `{"a":1,"a":2}`, `{"a":{"b":1,"b":1}}`, `[{"a":1},{"a":1}]`, `{"a":1,"\u0061":2}`, "{\"a\":\"\xff\"}", `{"":1,"":2}`, "{} {}", `{"a":[{"b":[{"c":1,"c":2}]}]}`, strings.Repeat("[", 20000)} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		refused := checkJSON(body)
		if !utf8.Valid(body) {
			if refused == nil {
				t.Errorf("%q is taken", body)
			}
			return
		}
		var whole any
		if json.Unmarshal(body, &whole) != nil {
			if refused != nil {
				t.Errorf("%q: %v", body, refused)
			}
			return
		}
		d := json.NewDecoder(strings.NewReader(string(body)))
		d.UseNumber()
		if once := names(d) == kept(whole); once != (refused == nil) {
			t.Errorf("%q: %v", body, refused)
		}
	})
}

// names counts the names of all objects that follow.
func names(d *json.Decoder) (n int) {
	type place struct{ object, name bool }
	var stack []place
	for {
		token, err := d.Token()
		if err != nil {
			return n
		}
		top := len(stack) - 1
		isName := top >= 0 && stack[top].object && stack[top].name
		if _, text := token.(string); isName && text {
			n++
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if top >= 0 {
				stack[top].name = true
			}
			stack = append(stack, place{token == json.Delim('{'), true})
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:top]
			continue
		}
		if top >= 0 {
			stack[top].name = !isName
		}
	}
}

// kept counts the names that are left once the text was read.
func kept(v any) (n int) {
	switch v := v.(type) {
	case map[string]any:
		n = len(v)
		for _, e := range v {
			n += kept(e)
		}
	case []any:
		for _, e := range v {
			n += kept(e)
		}
	}
	return n
}

// TestDeepBody: the memory that a body takes is in proportion to its length, however deep it
// goes and however long its names are.
func TestDeepBody(t *testing.T) {
	const depth = 9000
	body := []byte(strings.Repeat(`{"`+strings.Repeat("x", 100)+`":`, depth) + "1" + strings.Repeat("}", depth))
	if len(body) > maxBody {
		t.Fatal("too long to be read at all")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if refused := checkJSON(body); refused != nil {
		t.Fatal(refused)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 100*uint64(len(body)) {
		t.Errorf("%d bytes took %d", len(body), took)
	}
}
