package instance_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

// slowQueue is one that takes its time, or forever.
type slowQueue struct {
	bell.Queue
	takes time.Duration
	calls atomic.Int64
}

func (q *slowQueue) Enqueue(ctx context.Context, t bell.Task) error {
	q.calls.Add(1)
	select {
	case <-time.After(q.takes):
		return q.Queue.Enqueue(ctx, t)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Who asks for an instance does not wait for the queue, whose task comes all the same:
// also when the request is over.
func TestNobodyWaitsForTheQueue(t *testing.T) {
	inWorld(t, func(w *world) {
		slow := &slowQueue{Queue: w.queue, takes: 300 * time.Millisecond}
		behind := bell.NewBehindQueue(slow, w.log)
		cfg := w.serviceConfig(w.store)
		cfg.Queue = behind
		service := rooms.NewService(cfg)
		ctx, cancel := context.WithCancel(w.ctx)
		begun := time.Now()
		a, err := service.Create(ctx, tenanttest.Owner(tenant.Default), instance.CreateRequest{Engine: "fake"})
		w.must(err)
		cancel()
		if took := time.Since(begun); took > 0 {
			t.Errorf("the answer took %s", took)
		}
		behind.Wait()
		if tasks := w.queue.Take(); len(tasks) != 1 || tasks[0].ID != string(a.Job.ID) {
			t.Errorf("the queue has %v", tasks)
		}
		// A request that outlives the end waits for its call.
		w.must(behind.Enqueue(w.ctx, bell.Task{Pool: bell.PoolCreates, ID: "late", Generation: 1}))
		if tasks := w.queue.Take(); len(tasks) != 1 {
			t.Errorf("after the end the queue has %v", tasks)
		}
	})
}

// A queue that hangs has so many calls wait for it, and no more: then those who ask wait,
// for as long as they would have without.
func TestCallsBehindAreBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		hung := &slowQueue{Queue: w.queue, takes: time.Hour}
		behind := bell.NewBehindQueue(hung, w.log)
		const bound = 64
		for range bound {
			w.must(behind.Enqueue(w.ctx, bell.Task{Pool: bell.PoolCreates, ID: "x"}))
		}
		ctx, cancel := context.WithTimeout(w.ctx, 100*time.Millisecond)
		defer cancel()
		if err := behind.Enqueue(ctx, bell.Task{Pool: bell.PoolCreates, ID: "y"}); err == nil {
			t.Error("one more was taken on")
		}
		synctest.Wait()
		if n := hung.calls.Load(); n != bound+1 {
			t.Errorf("%d calls, want %d", n, bound+1)
		}
		begun := time.Now()
		behind.Wait()
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the end waited for %s", took)
		}
	})
}
