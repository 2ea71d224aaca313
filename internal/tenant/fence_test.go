package tenant

import (
	"context"
	"testing"
)

func TestFence(t *testing.T) {
	none := t.Context()
	within := Within(none, "ten_a")
	for _, test := range []struct {
		name   string
		ctx    context.Context
		of     ID
		fenced bool
	}{
		{"none", none, "", false},
		{"within", within, "ten_a", true},
		{"within another", Within(within, "ten_b"), "ten_b", true},
		{"within no tenant", Within(none, ""), "", true}, // which is not the same as no fence
		{"beyond", Beyond(within), "", false},
		{"beyond no tenant", Beyond(Within(none, "")), "", false},
		{"beyond none", Beyond(none), "", false},
		{"within again", Within(Beyond(within), "ten_a"), "ten_a", true},
		{"what is nobody's", Within(within, Nobody), Nobody, true},
	} {
		if of, fenced := Fence(test.ctx); of != test.of || fenced != test.fenced {
			t.Errorf("%s: fenced to %q (%v), want %q (%v)", test.name, of, fenced, test.of, test.fenced)
		}
	}
}
