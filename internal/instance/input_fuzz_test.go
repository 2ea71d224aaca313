package instance

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// FuzzParseBytes: what the schema of a parameter allows is read as the number that it says,
// in powers of 1024, and nothing else is read but spaces around it and a "b" alone.
func FuzzParseBytes(f *testing.F) {
	for _, text := range []string{
		"0", "67108864", "64mb", "64M", "1 gb", " 5b ", "9223372036854775807", "9223372036854775808", "8589934592g", "8589934591g", "99999999999999999999",
		"", "mb", "+5", "-5", "-0", "5_0", "0x5", "1e3", "1.5g", "5bk", "5 k b", "64\u212a", "\u0663mb", "5\u00a0mb", "5\x00", "5mb\n", "\xff",
	} {
		f.Add(text)
	}
	var allowed *regexp.Regexp
	for _, alternative := range (Parameter{Type: TypeBytes}).JSONSchema()["oneOf"].([]any) {
		if pattern, ok := alternative.(map[string]any)["pattern"].(string); ok {
			allowed = regexp.MustCompile(pattern)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, ok := ParseBytes(text)
		trimmed := strings.Trim(text, " \t\r\n\f")
		if number := strings.TrimRight(trimmed, "bB"); len(trimmed)-len(number) == 1 && strings.Trim(number, "0123456789 ") == "" {
			trimmed = number
		}
		trimmed = strings.TrimRight(trimmed, " ")
		want := new(big.Int)
		if allowed.MatchString(trimmed) {
			want.SetString(strings.TrimRight(trimmed, "kKmMgGbB "), 10)
			for unit, shift := range map[string]uint{"k": 10, "m": 20, "g": 30} {
				if strings.Contains(strings.ToLower(trimmed), unit) {
					want.Lsh(want, shift)
				}
			}
		}
		if good := allowed.MatchString(trimmed) && want.IsInt64(); ok != good || ok && n != want.Int64() {
			t.Errorf("%q: %d, %v, not %s, %v", text, n, ok, want, good)
		}
		if again, ok := ParseBytes(strconv.FormatInt(n, 10)); !ok || again != n {
			t.Errorf("%d is read as %d", n, again)
		}
	})
}

// FuzzNames: a name of an instance and the name of a label can be written into a file, a URL
// and a terminal as they are.
func FuzzNames(f *testing.F) {
	for _, text := range []string{"shop-a", "a", "", "-", "a-", "A", "a b", "a\n", "\na", "ä", "a\x00", "a/b", "team/x", "a..b", "\xff", strings.Repeat("a", 41), strings.Repeat("a", 64)} {
		f.Add(text, "a value")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		plain := func(more string) bool {
			return text != "" && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789-"+more) == ""
		}
		if text != "" && checkName(CreateRequest{Name: text, HasName: true}) == nil && (!plain("") || len(text) > maxNameLength || strings.Trim(text, "-") != text) {
			t.Errorf("the name %q", text)
		}
		wrong := CheckLabels(map[string]string{text: value})
		if len(wrong) == 0 && (!plain("ABCDEFGHIJKLMNOPQRSTUVWXYZ._/") || len(text) > maxLabelLength || len(value) > maxLabelLength) {
			t.Errorf("the label %q=%q", text, value)
		}
		for _, w := range wrong {
			if strings.ContainsFunc(w.Message, unicode.IsControl) {
				t.Errorf("%q", w.Message)
			}
		}
	})
}
