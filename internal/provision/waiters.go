package provision

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/id"
)

// The steps in which a job that somebody waits for is looked at, unless a ring says
// first that it has ended. They grow with the wait.
const (
	firstWaitStep    = 10 * time.Millisecond
	lastWaitStep     = 500 * time.Millisecond
	lastWaitStepDeaf = 40 * time.Millisecond
	// waitersGap is the least pause between two looks of the process.
	waitersGap = 20 * time.Millisecond
	// waitersBatch is how many jobs one look asks for.
	waitersBatch = 500
)

// waiters tells those who wait for a job that it may be over. A ring wakes those who
// wait for that job; underneath, one look at the database serves all of the process.
// While nobody waits there is none.
type waiters struct {
	store Reader
	bell  bell.Bell

	mu     sync.Mutex
	all    map[id.Job]map[*waiter]struct{}
	stop   context.CancelFunc
	ended  chan struct{} // closed when the goroutine has ended
	sooner chan struct{}
}

// waiter is one of them.
type waiter struct {
	all  *waiters
	job  id.Job
	over chan struct{} // holds a signal when the job may have ended
	step time.Duration
	due  time.Time // when to look next
}

// join begins to wait; whether the job has ended already is for the waiter to see
// after that.
func (w *waiters) join(ctx context.Context, job id.Job) *waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	me := &waiter{all: w, job: job, over: make(chan struct{}, 1), step: firstWaitStep, due: time.Now().Add(firstWaitStep)}
	if len(w.all) == 0 {
		w.all, w.sooner, w.ended = map[id.Job]map[*waiter]struct{}{}, make(chan struct{}, 1), make(chan struct{})
		var lookCtx context.Context
		lookCtx, w.stop = context.WithCancel(context.WithoutCancel(ctx)) // others may join and outlast this one
		go w.look(lookCtx, w.sooner, w.ended)
	}
	if w.all[job] == nil {
		w.all[job] = map[*waiter]struct{}{}
	}
	w.all[job][me] = struct{}{}
	bell.Signal(w.sooner)
	return me
}

// leave ends the looking with the last waiter.
func (me *waiter) leave() {
	w := me.all
	w.mu.Lock()
	delete(w.all[me.job], me)
	if len(w.all[me.job]) == 0 {
		delete(w.all, me.job)
	}
	if len(w.all) > 0 {
		w.mu.Unlock()
		return
	}
	ended := w.ended
	w.stop()
	w.mu.Unlock()
	<-ended
}

// look looks at what is due until the context ends.
func (w *waiters) look(ctx context.Context, sooner <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	defer w.bell.Listen(RingEnded, func(theID string) { w.wake(id.Job(theID)) })()
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
			for _, id := range over {
				w.wake(id)
			}
		}
	}
}

// next gives when the first of them is due.
func (w *waiters) next(now time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := now.Add(lastWaitStep)
	for _, job := range w.all {
		for me := range job {
			if me.due.Before(next) {
				next = me.due
			}
		}
	}
	return next
}

// take gives the jobs whose waiters are due, and says when those are due again.
func (w *waiters) take(now time.Time) (due []id.Job) {
	last := bell.Interval(w.bell, lastWaitStep, lastWaitStepDeaf)
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, job := range w.all {
		looked := false
		for me := range job {
			if me.due.After(now) {
				continue
			}
			looked = true
			me.step = min(me.step*5/4, last)
			me.due = now.Add(me.step)
		}
		if looked {
			due = append(due, id)
		}
	}
	return due
}

// wake wakes those who wait for the job, or all, where rings may have been missed.
func (w *waiters) wake(id id.Job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for job, waiting := range w.all {
		if id == "" || id == job {
			for me := range waiting {
				bell.Signal(me.over)
			}
		}
	}
}
