package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/internal/client"
)

// FuzzAuditFile: whatever is in an archive of the audit log is refused or checked, and what
// was read of it is checked alike once it is written again.
func FuzzAuditFile(f *testing.F) {
	for _, text := range []string{
		"", "{}", "{}{}\n{}", "null", "[]", `{"number":-9223372036854775808,"hash":"x"}`, `{"number":1e400}`, `{"number":2,"created_at":"2026-01-31T12:00:00Z","action":"audit.clean","subject":"1"}`,
		`{"number":3,"hash":"b","previous_hash":"a"}` + "\n" + `{"number":2,"hash":"a"}`, `{"created_at":"0000-00-00"}`, `{"actor":"\ud800"}`, "{\"actor\":\"\xff\"}", `{"actor":"a","actor":"b"}`, "{",
	} {
		f.Add([]byte(text))
	}
	verified := func(text []byte) (again []byte, r audit.Report, err error) {
		var v audit.Verifier
		var out bytes.Buffer
		err = eachLine(bytes.NewReader(text), "-", func(e client.AuditEntry) error {
			v.Add(entryOf(e))
			return json.NewEncoder(&out).Encode(e)
		})
		return out.Bytes(), v.Report(), err
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		again, first, err := verified(text)
		if err != nil {
			return
		}
		_, second, err := verified(again)
		if err != nil || first.Entries != second.Entries || strings.Join(first.Problems, "\n") != strings.Join(second.Problems, "\n") {
			t.Errorf("%+v, then %+v, %v", first, second, err)
		}
	})
}

// FuzzNoted: a hash that was written down is taken with its number or refused.
func FuzzNoted(f *testing.F) {
	for _, text := range []string{"1841:" + strings.Repeat("9f", 32), "", ":", "0:" + strings.Repeat("0", 64), "-1:" + strings.Repeat("0", 64), "1:" + strings.Repeat("ä", 32), "1:x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := verifierOf([]string{text})
		if err != nil {
			return
		}
		for number, hash := range v.Noted {
			if number < 1 || len(v.Noted) != 1 || strings.Trim(hash, "0123456789abcdef") != "" || len(hash) != 64 {
				t.Errorf("%q: %d:%q", text, number, hash)
			}
		}
	})
}

// FuzzClean: whatever a server says is shown in one line that does nothing to a terminal.
func FuzzClean(f *testing.F) {
	for _, text := range []string{"", "a\nb", "\x1b[2J", "\u202e", "\x00", "\xff", "\u00ad", "ä\u2028b", "\a\b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range clean(text) {
			if r != ' ' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.IsSpace(r)) {
				t.Errorf("%q shows %q", text, clean(text))
			}
		}
	})
}
