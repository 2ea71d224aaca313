// Package requestid owns the id of a request: what one looks like, where it is kept while the
// request is served, and that log lines written meanwhile carry it. It must not know HTTP.
package requestid

import (
	"context"
	"log/slog"

	"github.com/berth-project/berth/internal/id"
)

// Prefix begins the ids that Berth makes.
const Prefix = "req"

// maxLength is more than a UUID or the trace id of a proxy has.
const maxLength = 64

var source = id.NewSource()

// New returns a fresh id, for example "req_01J9ZQ4T8E4W2Y6N0G5R7K3M1C".
func New() string { return source.New(Prefix) }

// Safe reports whether an id that somebody else made can be taken over: 1 to 64 letters, digits
// and `-_.:`, which mean nothing in a log, a header or a shell.
func Safe(id string) bool {
	for _, c := range []byte(id) {
		switch {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
		case c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return id != "" && len(id) <= maxLength
}

type key struct{}

// With returns a context of the request.
func With(ctx context.Context, id string) context.Context { return context.WithValue(ctx, key{}, id) }

// Of returns the id of the request that the context belongs to; empty: it belongs to none.
func Of(ctx context.Context) string {
	id, _ := ctx.Value(key{}).(string)
	return id
}

// Attr is the name of the id in a log line.
const Attr = "request_id"

// Logger returns the logger, whose lines now carry the id of the request that their context
// belongs to. A logger that does so already is returned as it is.
func Logger(log *slog.Logger) *slog.Logger {
	if _, ok := log.Handler().(handler); ok {
		return log
	}
	return slog.New(handler{log.Handler()})
}

// handler adds the id to the lines of a request.
type handler struct{ to slog.Handler }

// Enabled implements slog.Handler.
func (h handler) Enabled(ctx context.Context, level slog.Level) bool { return h.to.Enabled(ctx, level) }

// Handle implements slog.Handler.
func (h handler) Handle(ctx context.Context, line slog.Record) error {
	if id := Of(ctx); id != "" {
		line = line.Clone()
		line.AddAttrs(slog.String(Attr, id))
	}
	return h.to.Handle(ctx, line)
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler { return handler{h.to.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler { return handler{h.to.WithGroup(name)} }
