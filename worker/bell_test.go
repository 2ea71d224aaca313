package worker_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/queue"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
	"github.com/berth-project/berth/internal/testenv"
)

func dial(t testing.TB, redisURL string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	options.DialTimeout, options.ContextTimeoutEnabled = time.Second, true
	rdb := redis.NewClient(options)
	t.Cleanup(func() {
		if err := rdb.Close(); err != nil {
			t.Error(err)
		}
	})
	return rdb
}

// hangBell gives a bell that is connected to Redis until the test ends.
func hangBell(t testing.TB, rdb redis.UniversalClient) *queue.Bell {
	t.Helper()
	bell := queue.NewBell(rdb, "dep")
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		bell.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return bell
}

// apart gives a service as another process has it: the same rows and the same Redis,
// a bell of its own.
func (b *bench) apart(redisURL string) *instance.Service {
	b.Helper()
	bell := hangBell(b, dial(b, redisURL))
	for begun := time.Now(); !bell.Connected() || !b.cfg.Bell.Connected(); {
		if time.Since(begun) > long {
			b.Fatal("the bells are not connected")
		}
		<-time.After(time.Millisecond)
	}
	return rooms.NewService(rooms.ServiceConfig{Store: b.store, Bell: bell, Log: slog.New(slog.DiscardHandler)})
}

// A long poll in one process ends when the job ends in another, with Redis and
// without.
func TestWaitInAnotherProcess(t *testing.T) {
	mini := miniredis.RunT(t)
	b := newBench(t, "redis://"+mini.Addr()+"/0")
	b.start()
	api := b.apart("redis://" + mini.Addr() + "/0")
	for _, without := range []bool{false, true} {
		if without {
			mini.Close()
		}
		a := b.create() // without Redis, the relay's when it is back
		answered := make(chan job.Job, 1)
		go func() {
			job, err := api.WaitJob(t.Context(), tenanttest.Owner(tenant.Default), a.Job.ID, long)
			if err != nil {
				t.Error(err)
			}
			answered <- job
		}()
		if without {
			go func() {
				if err := b.cfg.Runner.Run(t.Context(), a.Job.ID); err != nil {
					t.Error(err)
				}
			}()
		}
		j := await(t, "the answer", answered)
		late := time.Since(j.FinishedAt)
		t.Logf("without Redis: %v: answered %s after the end", without, late.Round(time.Millisecond))
		if j.State != job.Succeeded || late > long/3 {
			t.Errorf("%s, %s late", j.State, late)
		}
	}
	if err := mini.Restart(); err != nil {
		t.Fatal(err)
	}
}

// An idle worker, whose pools wait for a ring, stops at once; and it asks Redis about
// once a second for each.
func TestIdleWorkerStops(t *testing.T) {
	mini := miniredis.RunT(t)
	b := newBench(t, "redis://"+mini.Addr()+"/0")
	stop := b.start()
	b.succeeded(b.create().Job.ID)
	testenv.Eventually(t, "the bell is connected", long, func(context.Context) error {
		if !b.cfg.Bell.Connected() {
			return errors.New("not yet")
		}
		return nil
	})
	before, begun := mini.CommandCount(), time.Now()
	<-time.After(2 * time.Second)
	took := time.Since(begun)
	if asked := mini.CommandCount() - before; asked > 40+int(20*took.Seconds()) {
		t.Errorf("%d commands in %s with nothing to do", asked, took)
	}
	begun = time.Now()
	stop()
	if took := time.Since(begun); took > long/10 {
		t.Errorf("stopping took %s", took)
	} else {
		t.Logf("stopped after %s", took.Round(time.Millisecond))
	}
}
