// Package audit owns the audit log once it is written: the chain that shows whether an entry
// was changed or removed, reading, and the removal of what is old. The entries are made by
// tenant.Auditor, each in the transaction of what it tells of. It must not know what was done.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/duty"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

// Entry is an entry of the log with its place in the chain.
type Entry struct {
	tenant.Entry

	// Number is its place: 1, 2, 3 and so on in the whole deployment.
	Number int64
	// Hash is Link's of this entry, Previous that of the one before; the first has none.
	Previous, Hash string
}

// timeForm is how the hash has the time of an entry, and the API, too.
const timeForm = "2006-01-02T15:04:05.000Z"

// Link returns the hash of an entry: SHA-256 in hexadecimal of a JSON array (RFC 8259) of
// texts, without spaces and with nothing escaped that need not be. It has the hash before,
// number, id, time, tenant, actor, user, key, session, address, request, action, what it was
// done to, job, result and detail. So nobody can change an entry, remove it or put one in
// without changing all that follow.
func Link(e Entry) string {
	var text hashed
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	// Encoding texts cannot fail.
	_ = enc.Encode([]string{
		e.Previous, strconv.FormatInt(e.Number, 10), string(e.ID), e.At.UTC().Format(timeForm), string(e.Tenant), e.Actor, string(e.User), string(e.Key),
		string(e.Session), e.Address, e.Request, string(e.Action), e.On, string(e.Job), string(e.Result), e.Detail,
	})
	sum := sha256.Sum256(text[:len(text)-1]) // without the encoder's line break
	return hex.EncodeToString(sum[:])
}

type hashed []byte

func (h *hashed) Write(p []byte) (int, error) {
	*h = append(*h, p...)
	return len(p), nil
}

// Head is the end of the chain: the number and the hash of its last entry, zero before the
// first.
type Head struct {
	Number int64
	Hash   string
}

// Filter narrows the log; empty fields do not.
type Filter struct {
	// Tenant is whose entries; All has those of all tenants and the platform's.
	Tenant tenant.ID
	All    bool `json:",omitempty"`
	Action tenant.Action
	User   tenant.UserID
	Key    tenant.KeyID
	On     string
	Result tenant.Result
	// Since and Until bound the time, the end excluded.
	Since, Until time.Time `json:",omitzero"`
}

// Store keeps the log.
type Store interface {
	duty.Store
	Reader
	Tx(context.Context, func(Tx) error) error
}

// Reader reads the log. Entries are in it once they are in the chain.
type Reader interface {
	// Entries returns a page of the chain, newest first.
	Entries(context.Context, Filter, page.Page) ([]Entry, error)
	// Unchained reports whether there are entries that are not in the chain yet.
	Unchained(context.Context) (bool, error)
	// OldestEntries returns the first entries of the chain, the oldest first, with no more
	// than their numbers and times.
	OldestEntries(ctx context.Context, limit int) ([]Entry, error)
}

// Tx writes the log in a transaction.
type Tx interface {
	tenant.Trail
	Rows
}

// Rows are the rows of the log in a transaction.
type Rows interface {
	// LockChain returns the end of the chain, and keeps others from changing the chain until
	// the transaction ends.
	LockChain() (Head, error)
	// NewEntries returns entries that are not in the chain, in the order of their ids.
	NewEntries(limit int) ([]Entry, error)
	// ChainEntries writes the numbers and hashes of entries, and the end of the chain.
	ChainEntries([]Entry) error
	// DeleteEntries removes the entries of the chain up to the number.
	DeleteEntries(number int64) (int, error)
}

// ChainEvery is how often somebody looks for entries that are not in the chain yet: what was
// written since can be changed without a trace.
const ChainEvery = time.Second

// Chainer makes the chain, in one process at a time.
type Chainer struct {
	store Store
	duty  duty.Duty
}

// NewChainer makes a Chainer for the process that the owner names.
func NewChainer(s Store, now clock.Clock, owner string) *Chainer {
	return &Chainer{s, duty.Duty{Store: s, Now: now, Name: "audit chain", Owner: owner, Hold: 20 * ChainEvery, AskEvery: 5 * ChainEvery}}
}

// RunOnce puts a batch of entries into the chain if that is this process's duty.
func (c *Chainer) RunOnce(ctx context.Context) (int, error) {
	if mine, err := c.duty.Mine(ctx); err != nil || !mine {
		return 0, err
	}
	return Chain(ctx, c.store)
}

// Release gives the duty to another process.
func (c *Chainer) Release(ctx context.Context) error { return c.duty.Release(ctx) }

// batch is how many entries one transaction puts into the chain, or removes.
const batch = 500

// Chain puts new entries into the chain, and reports how many. The chain is made afterwards,
// so that no two requests wait for one another because of it.
func Chain(ctx context.Context, s Store) (n int, err error) {
	if fresh, err := s.Unchained(ctx); err != nil || !fresh {
		return 0, err
	}
	err = s.Tx(ctx, func(tx Tx) error {
		head, err := tx.LockChain()
		if err != nil {
			return err
		}
		fresh, err := tx.NewEntries(batch)
		if err != nil {
			return err
		}
		for i := range fresh {
			fresh[i].Number, fresh[i].Previous = head.Number+1, head.Hash
			fresh[i].Hash = Link(fresh[i])
			head = Head{fresh[i].Number, fresh[i].Hash}
		}
		n = len(fresh)
		if n == 0 { // another process was faster
			return nil
		}
		return tx.ChainEntries(fresh)
	})
	return n, err
}

// catchUp puts all entries into the chain that are there now.
func catchUp(ctx context.Context, s Store) error {
	for range 1000 { // while others write
		if n, err := Chain(ctx, s); err != nil || n < batch {
			return err
		}
	}
	return errors.New("the audit log grows faster than its chain can be made")
}

// Log is what clients can ask of the audit log.
type Log struct {
	Store   Store
	Auditor tenant.Auditor
}

// Note writes an entry about what has no transaction of its own.
func (l *Log) Note(ctx context.Context, p tenant.Principal, d tenant.Deed) error {
	return l.Store.Tx(ctx, func(tx Tx) error { return l.Auditor.Note(tx, p, d) })
}

// Entries returns a page of the log, newest first, and the cursor of the next page. It has
// all that was committed before. The log of a tenant is for its owners and for operators, the
// whole one for operators.
func (l *Log) Entries(ctx context.Context, p tenant.Principal, f Filter, list page.Page) ([]Entry, string, error) {
	right := tenant.Manage
	if f.All {
		right = tenant.Operate
	}
	if err := p.MayAll(right); err != nil {
		return nil, "", err
	}
	if f.Tenant = p.Tenant; f.All {
		f.Tenant = ""
	}
	if list.Before == "" { // the pages that follow are older
		if err := catchUp(ctx, l.Store); err != nil {
			return nil, "", err
		}
	}
	return page.Fetch(ctx, page.List{Prefix: tenant.EntryPrefix, Filter: f}, list,
		func(ctx context.Context, list page.Page) ([]Entry, error) { return l.Store.Entries(ctx, f, list) },
		func(e Entry) string { return string(e.ID) })
}

// slack is how long after its time an entry is removed at the latest, if others are written:
// removals are entries, too, and so there must be fewer of them.
func slack(retention time.Duration) time.Duration { return min(retention/10, 24*time.Hour) }

// Clean removes entries of the chain that are older than the retention, the oldest first, and
// notes up to which: whatever else is missing was removed by somebody else.
func Clean(ctx context.Context, s Store, a tenant.Auditor, retention time.Duration) (removed int, err error) {
	now := a.Now()
	oldest, err := s.OldestEntries(ctx, batch)
	if err != nil || len(oldest) == 0 || now.Sub(oldest[0].At) < retention+slack(retention) {
		return 0, err
	}
	last := int64(0)
	for _, e := range oldest {
		if now.Sub(e.At) < retention {
			break
		}
		last = e.Number
	}
	err = s.Tx(ctx, func(tx Tx) error {
		if _, err := tx.LockChain(); err != nil {
			return err
		}
		if removed, err = tx.DeleteEntries(last); err != nil || removed == 0 {
			return err
		}
		return a.Note(tx, tenant.Principal{Name: "berth"}, tenant.Deed{Action: tenant.ActAuditClean, On: cleanedTo(last), Detail: fmt.Sprintf("removed %d entries after %s", removed, retention)})
	})
	return removed, err
}

func cleanedTo(number int64) string { return strconv.FormatInt(number, 10) }
