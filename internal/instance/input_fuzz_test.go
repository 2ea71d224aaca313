package instance

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// amount is what an amount of bytes may look like: what the schema of a parameter says, and
// spaces around it, and "b" alone.
var amount = regexp.MustCompile(`^[ \t\r\n]*([0-9]+) *([kKmMgG]?)[bB]?[ \t\r\n]*$`)

// FuzzParseBytes: what the schema allows is read as the number that it says, in powers of
// 1024, and nothing else is read.
func FuzzParseBytes(f *testing.F) {
	for _, text := range []string{
		"0", "67108864", "64mb", "64M", "1 gb", " 5b ", "9223372036854775807", "9223372036854775808", "8589934592g", "8589934591g", "99999999999999999999",
		"", "mb", "+5", "-5", "-0", "5_0", "0x5", "1e3", "1.5g", "5bk", "5 k b", "64\u212a", "٣mb", "5\u00a0mb", "5\x00", "5mb\n", "\xff",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, ok := ParseBytes(text)
		want, known := modelBytes(text)
		if ok != known || n != want {
			t.Errorf("%q: %d, %v, not %d, %v", text, n, ok, want, known)
		}
		if again, ok := ParseBytes(strconv.FormatInt(n, 10)); !ok || again != n {
			t.Errorf("%d is read as %d", n, again)
		}
	})
}

func modelBytes(text string) (int64, bool) {
	m := amount.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	unit := map[string]int64{"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[strings.ToLower(m[2])]
	if err != nil || n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
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
