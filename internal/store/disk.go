package store

import (
	"context"
	"strings"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/rooms"
)

// disk remembers that the database's disk took nothing, until a write has worked again. While
// it is well it costs nothing.
type disk struct {
	mu     sync.Mutex
	failed error     // the last failure; nil: it is well
	tried  time.Time // when it was tried last
	trying bool
}

// retryDisk is how long the outcome of a try holds: whoever asks often makes no load.
const retryDisk = time.Second

// note takes in how a transaction has ended. One that worked says nothing: a small one may
// fit where the next does not.
func (d *disk) note(err error) {
	if !unwritable(err) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = err
}

// check gives the failure that was noted last, unless a write works by now.
func (d *disk) check(ctx context.Context, try func(context.Context) error) error {
	d.mu.Lock()
	failed := d.failed
	wait := failed == nil || d.trying || time.Since(d.tried) < retryDisk
	d.trying = d.trying || !wait
	d.mu.Unlock()
	if wait {
		return failed
	}
	err := try(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trying, d.tried = false, time.Now()
	if err == nil || unwritable(err) {
		d.failed = err
	}
	return err
}

// writeCheckSetting is the name of the row that tryWrite adds and removes.
const writeCheckSetting = "write_check"

// tryWrite writes about as much as accepting a request does.
func (s *Store) tryWrite(ctx context.Context) error {
	err := s.putSetting(ctx, writeCheckSetting, strings.Repeat("x", 32<<10))
	if err != nil {
		return err
	}
	return s.inTx(ctx, func(db *gorm.DB) error { return db.Delete(&settingRow{}, "name = ?", writeCheckSetting).Error })
}

// inTx is Tx for this package's own tables.
func (s *Store) inTx(ctx context.Context, fn func(*gorm.DB) error) error {
	return s.Tx(ctx, func(t rooms.Tx) error {
		return fn(t.(*tx).db) //nolint:errcheck,forcetypeassert // Tx makes no other
	})
}
