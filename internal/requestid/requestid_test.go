package requestid_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/requestid"
)

func TestSafe(t *testing.T) {
	for id, want := range map[string]bool{
		"req_01J9ZQ4T8E4W2Y6N0G5R7K3M1C": true, "f47ac10b-58cc-4372-a567-0e02b2c3d479": true, "a": true, "1.2:3": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "a b": false, "a\n": false, "a\"": false, "a=b": false, "é": false, "a\x00": false, "../x/": false, "<b>": false,
	} {
		if got := requestid.Safe(id); got != want {
			t.Errorf("%q: %v, want %v", id, got, want)
		}
	}
	if a, b := requestid.New(), requestid.New(); a == b || !requestid.Safe(a) || !strings.HasPrefix(a, "req_") {
		t.Errorf("%q and %q", a, b)
	}
}

// TestLogger: lines of a request carry its id once, those of none carry none, whatever the
// logger was made of.
func TestLogger(t *testing.T) {
	var text bytes.Buffer
	log := requestid.Logger(slog.New(slog.NewTextHandler(&text, nil)))
	if requestid.Logger(log) != log {
		t.Error("a logger was wrapped twice")
	}
	ctx := requestid.With(t.Context(), "r1")
	log.With("a", 1).InfoContext(ctx, "of the request")
	log.WithGroup("g").InfoContext(context.WithoutCancel(ctx), "behind it", "b", 2)
	log.InfoContext(t.Context(), "of nobody")
	log.DebugContext(ctx, "not wanted")
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(lines) != 3 || strings.Count(lines[0], "request_id=r1") != 1 || !strings.Contains(lines[0], "a=1") ||
		!strings.Contains(lines[1], "request_id=r1") || strings.Contains(lines[2], "request_id") {
		t.Errorf("%s", text.String())
	}
	if requestid.Of(ctx) != "r1" || requestid.Of(t.Context()) != "" {
		t.Error("the context's id")
	}
}
