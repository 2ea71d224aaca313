package worker

import (
	"sync"
	"time"
)

// underway is the work that was begun. Once it is closed, nothing begins any more: what
// Asynq hands over at that moment stays in the database, where the next relay finds it.
type underway struct {
	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup
}

// begin reports whether the work may begin; if so, it says done in the end.
func (u *underway) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return false
	}
	u.work.Add(1)
	return true
}

func (u *underway) done() { u.work.Done() }

func (u *underway) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
}

// wait waits until all is done, but not longer than the time given. It comes after close.
func (u *underway) wait(limit time.Duration) bool {
	done := make(chan struct{})
	go func() {
		u.work.Wait()
		close(done)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
