package page

import (
	"errors"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
)

// FuzzCursor: a cursor is read as the id that it was made of, by its own list only. Whatever
// else a client sends is refused, or names an id of the list that a database may be asked for.
func FuzzCursor(f *testing.F) {
	instances := List{Prefix: "ins", Filter: map[string]string{"tenant": "default"}}
	const known = "ins_01J9ZQ4T8E4W2Y6N0G5R7K3M1C"
	for _, text := range []string{
		"", known, instances.cursor(known), known + ".", known + ".000000000", "job_01J9ZQ4T8E4W2Y6N0G5R7K3M1C", "ins_", "ins_.x", "ins_' OR 1=1", "ins_\x00", "..", ".", "\xff",
		strings.ToLower(known), known + "." + instances.tag(known) + ".", strings.Repeat("ins_", 100),
	} {
		f.Add(text)
	}
	others := []List{
		{Prefix: "job", Filter: instances.Filter}, {Prefix: "ins", Filter: map[string]string{"tenant": "other"}}, {Prefix: "ins"},
	}
	f.Fuzz(func(t *testing.T, text string) {
		last, err := instances.read(text)
		if err != nil {
			var e *fault.Error
			if !errors.As(err, &e) || e.Code != fault.CodeInvalid || last != "" {
				t.Fatalf("%q: %q, %v", text, last, err)
			}
		} else if text != "" {
			if !id.WellFormed(last) || !strings.HasPrefix(last, "ins_") || text != last && text != instances.cursor(last) {
				t.Errorf("%q is read as %q", text, last)
			}
		}
		if !id.WellFormed(text) || !strings.HasPrefix(text, "ins_") {
			return
		}
		cursor := instances.cursor(text)
		if back, err := instances.read(cursor); err != nil || back != text {
			t.Errorf("the cursor %q of %q is read as %q: %v", cursor, text, back, err)
		}
		for _, other := range others {
			if _, err := other.read(cursor); err == nil {
				t.Errorf("%+v takes the cursor %q", other, cursor)
			}
		}
	})
}
