package job

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/tenant"
)

// The steps in which a job that somebody waits for is looked at, unless a ring says first
// that it has ended. They grow with the wait.
const (
	firstWaitStep    = 10 * time.Millisecond
	lastWaitStep     = 500 * time.Millisecond
	lastWaitStepDeaf = 40 * time.Millisecond
	// waitersGap is the least pause between two looks of the process.
	waitersGap = 20 * time.Millisecond
	// waitersBatch is how many jobs one look asks for.
	waitersBatch = 500
)

// waiters tells those who wait for a job that it may be over. A ring wakes those who wait
// for that job; underneath, one look at the database serves all of the process.
type waiters struct {
	bell.Hub[id.Job, wait]
	store  Store
	bell   bell.Bell
	sooner atomic.Pointer[chan struct{}] // of the look that is under way
}

// wait is when a waiter's job is looked at.
type wait struct {
	step time.Duration
	due  time.Time
}

func newWaiters(store Store, ringer bell.Bell) *waiters {
	w := &waiters{store: store, bell: ringer}
	w.Run = w.look
	return w
}

// join begins to wait; whether the job has ended already is for the waiter to see after
// that.
func (w *waiters) join(ctx context.Context, job id.Job) *bell.Member[id.Job, wait] {
	me := w.Join(ctx, job, wait{step: firstWaitStep, due: time.Now().Add(firstWaitStep)})
	if sooner := w.sooner.Load(); sooner != nil {
		bell.Signal(*sooner)
	}
	return me
}

// look looks at what is due until the context ends.
func (w *waiters) look(ctx context.Context) {
	ctx = tenant.Beyond(ctx) // the first to join began it, and it looks for those of other tenants, too
	defer w.bell.Listen(RingEnded, func(job string) {
		if job == "" { // rings may have been missed
			w.WakeAll()
			return
		}
		w.Wake(id.Job(job))
	})()
	sooner := make(chan struct{}, 1)
	w.sooner.Store(&sooner)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var looked time.Time
	for {
		now := time.Now()
		timer.Reset(max(w.next(now).Sub(now), looked.Add(waitersGap).Sub(now)))
		select {
		case <-ctx.Done():
			return
		case <-sooner:
			continue
		case <-timer.C:
		}
		looked = time.Now()
		for batch := range slices.Chunk(w.take(looked), waitersBatch) {
			over, err := w.store.EndedJobs(ctx, batch)
			if err != nil {
				over = batch // whoever reads the job finds out, and says so
			}
			for _, job := range over {
				w.Wake(job)
			}
		}
	}
}

// next returns when the first of them is due.
func (w *waiters) next(now time.Time) time.Time {
	next := now.Add(lastWaitStep)
	w.Each(func(_ id.Job, me *bell.Member[id.Job, wait]) {
		if me.Value.due.Before(next) {
			next = me.Value.due
		}
	})
	return next
}

// take returns the jobs whose waiters are due, and says when those are due again.
func (w *waiters) take(now time.Time) (due []id.Job) {
	last := bell.Interval(w.bell, lastWaitStep, lastWaitStepDeaf)
	w.Each(func(job id.Job, me *bell.Member[id.Job, wait]) {
		if me.Value.due.After(now) {
			return
		}
		me.Value.step = min(me.Value.step*5/4, last)
		me.Value.due = now.Add(me.Value.step)
		if len(due) == 0 || due[len(due)-1] != job { // members of a job come one after the other
			due = append(due, job)
		}
	})
	return due
}
