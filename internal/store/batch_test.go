package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
)

// trips notes what goes to the server.
type trips struct {
	sent []string
	fail error
}

func (c *trips) note(query string, args []any) error {
	if marks := strings.Count(query, "?"); marks != len(args) {
		return fmt.Errorf("%d values for %d places", len(args), marks)
	}
	c.sent = append(c.sent, query)
	return c.fail
}

func (c *trips) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	return nil, c.note(query, args)
}

func (c *trips) QueryContext(_ context.Context, query string, args ...any) (*sql.Rows, error) {
	return nil, c.note(query, args)
}

func (c *trips) QueryRowContext(_ context.Context, query string, args ...any) *sql.Row {
	_ = c.note(query, args)
	return nil
}

func (c *trips) Raw(func(any) error) error { c.sent = append(c.sent, "ended"); return nil }

func (c *trips) Close() error { return nil }

func (c *trips) PrepareContext(_ context.Context, query string) (*sql.Stmt, error) {
	return nil, c.note(query, nil)
}

// What is kept back goes in front of whatever comes next.
func TestBatchTrips(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		next func(*batch, context.Context) error
		want []string
	}{
		"exec":     {func(b *batch, ctx context.Context) error { _, err := b.ExecContext(ctx, "U ?", 3); return err }, []string{"I ?;I ?;U ?"}},
		"query":    {func(b *batch, ctx context.Context) error { _, err := b.QueryContext(ctx, "S ?", 3); return err }, []string{"I ?;I ?;S ?"}}, //nolint:rowserrcheck,sqlclosecheck // there are none
		"flush":    {func(b *batch, ctx context.Context) error { return b.flush(ctx) }, []string{"I ?;I ?"}},
		"twice":    {func(b *batch, ctx context.Context) error { return errors.Join(b.flush(ctx), b.flush(ctx)) }, []string{"I ?;I ?"}},
		"a row":    {func(b *batch, ctx context.Context) error { b.QueryRowContext(ctx, "S ?", 3); return nil }, []string{"I ?;I ?", "S ?"}},
		"prepared": {func(b *batch, ctx context.Context) error { _, err := b.PrepareContext(ctx, "S"); return err }, []string{"I ?;I ?", "S"}}, //nolint:sqlclosecheck // there is none
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &trips{}
			b := &batch{conn: c, begun: true}
			err := errors.Join(b.later(t.Context(), "I ?", []any{1}), b.later(t.Context(), "I ?", []any{2}), tt.next(b, t.Context()))
			if err != nil || fmt.Sprint(c.sent) != fmt.Sprint(tt.want) {
				t.Errorf("%v, sent %q, want %q", err, c.sent, tt.want)
			}
		})
	}
}

// A batch has bounds, in number and in bytes.
func TestBatchBounds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ n, size, trips int }{
		"few":   {maxBatch, 1, 1},
		"many":  {2*maxBatch + 1, 1, 3},
		"large": {4, maxBatchSize/2 - 100, 2},
		"huge":  {2, 3 * maxBatchSize, 2},
	} {
		c := &trips{}
		b := &batch{conn: c, begun: true}
		for range tt.n {
			if err := b.later(t.Context(), "I ?", []any{strings.Repeat("x", tt.size)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.flush(t.Context()); err != nil || len(c.sent) != tt.trips {
			t.Errorf("%s: %v, %d round trips, want %d", name, err, len(c.sent), tt.trips)
		}
	}
}

// A batch that the server refused is told once more to whoever comes next.
func TestBatchRefused(t *testing.T) {
	t.Parallel()
	refusal := numbered(1062)
	for _, fail := range []error{refusal, numbered(mysqlDeadlock), numbered(1021), errors.New("no connection")} {
		b := &batch{conn: &trips{fail: fail}, begun: true}
		_ = b.later(t.Context(), "I ?", []any{1})
		refused := errors.Is(fail, refusal)
		for range 2 {
			if err := b.flush(t.Context()); errors.Is(err, errRefused) != refused || refused && !errors.Is(err, fail) {
				t.Errorf("%v: %v", fail, err)
			}
		}
	}
}

// Rows that did not reach the server are not passed over, however the caller goes on.
func TestBatchLost(t *testing.T) {
	t.Parallel()
	for _, rows := range []int{0, 1} {
		for _, begun := range []bool{false, true} {
			fail := errors.New("no connection")
			c := &trips{fail: fail}
			b := &batch{conn: c, begun: begun}
			for range rows {
				_ = b.later(t.Context(), "I ?", []any{1})
			}
			_, _ = b.ExecContext(t.Context(), "U ?", 2)
			c.fail = nil
			if err := b.commit(t.Context()); errors.Is(err, fail) != (rows > 0 || !begun) {
				t.Errorf("%d rows, begun %v: the commit says %v, sent %q", rows, begun, err, c.sent)
			}
		}
	}
}

// Whatever stands around a row that is refused, the error is that of the row alone, nothing
// of the transaction is there, and an error that was expected can be passed over.
func TestRefusedAmongOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		newID := id.NewSource().New
		make := func(name string) instance.Instance {
			i := instance.Instance{ID: instance.ID(newID(instance.Prefix)), Tenant: "t", Name: name, State: instance.StatePending}
			i.Spec.Engine = "redis"
			return i
		}
		say := func(tx rooms.Tx, subject instance.ID) error {
			return tx.AppendEvent(event.Event{ID: event.ID(newID(event.Prefix)), Tenant: "t", Type: "x", Subject: id.Subject(subject)})
		}
		first := make("a")
		if err := s.Tx(t.Context(), func(tx rooms.Tx) error { return tx.InsertInstance(first) }); err != nil {
			t.Fatal(err)
		}
		second := make("a")
		runs, done := 0, 0
		err := s.Tx(t.Context(), func(tx rooms.Tx) error {
			runs++
			tx.OnCommit(func(context.Context) { done++ })
			return errors.Join(say(tx, second.ID), tx.InsertInstance(second), tx.PutCredentials(second.ID, secret.Sealed{KeyID: "k", Ciphertext: []byte{1}}))
		})
		if !errors.Is(err, fault.ErrNameHeld) || done != 0 {
			t.Errorf("%v after %d runs, %d followed", err, runs, done)
		}
		if _, err := s.Credentials(t.Context(), second.ID); fault.CodeOf(err) != fault.CodeNotFound {
			t.Errorf("its credentials: %v", err)
		}
		var said int64
		if err := s.db.Model(&eventRow{}).Where("instance_id = ?", string(second.ID)).Count(&said).Error; err != nil || said != 0 {
			t.Errorf("%d events, %v", said, err)
		}
		// the closure goes on after the refusal
		err = s.Tx(t.Context(), func(tx rooms.Tx) error {
			if err := say(tx, second.ID); err != nil {
				return err
			}
			err := tx.InsertInstance(second)
			if _, reading := tx.Instance(first.ID); err == nil {
				err = reading
			}
			if errors.Is(err, fault.ErrNameHeld) {
				return nil
			}
			return err
		})
		if err != nil {
			t.Errorf("a refusal that was passed over: %v", err)
		}
	})
}

// A write tells whether its own row changed, whatever goes in front of it, and a read sees
// what was written before it.
func TestAmongOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		newID := id.NewSource().New
		i := instance.Instance{ID: instance.ID(newID(instance.Prefix)), Tenant: "t", Name: "a", State: instance.StatePending}
		other := i
		other.ID, other.Name = instance.ID(newID(instance.Prefix)), "b"
		err := s.Tx(t.Context(), func(tx rooms.Tx) error {
			if err := errors.Join(tx.InsertInstance(i), tx.InsertInstance(other)); err != nil {
				return err
			}
			if seen, err := tx.Instance(i.ID); err != nil || seen.Name != "a" {
				return fmt.Errorf("%q, %w", seen.Name, err)
			}
			return tx.PutCredentials(i.ID, secret.Sealed{KeyID: "k", Ciphertext: []byte("?;'\\\x00")})
		})
		if err != nil {
			t.Fatal(err)
		}
		if kept, err := s.Credentials(t.Context(), i.ID); err != nil || string(kept.Ciphertext) != "?;'\\\x00" {
			t.Errorf("%q, %v", kept.Ciphertext, err)
		}
		stale := i
		stale.Rev = 7
		err = s.Tx(t.Context(), func(tx rooms.Tx) error {
			more := i
			more.ID, more.Name = instance.ID(newID(instance.Prefix)), "c"
			return errors.Join(tx.InsertInstance(more), tx.UpdateInstance(stale))
		})
		if fault.CodeOf(err) != fault.CodeConflict {
			t.Errorf("a write of a row that changed, behind another: %v", err)
		}
	})
}

func numbered(n uint16) error { return &driver.MySQLError{Number: n} }
