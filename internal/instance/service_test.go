package instance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/instance/instancetest"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

func request(key, fingerprint string) instance.CreateRequest {
	return instance.CreateRequest{
		Engine:      instancetest.EngineName,
		Idempotency: &idempotency.Request{Key: key, Fingerprint: fingerprint},
		Encode: func(a instance.Accepted) ([]byte, error) {
			return json.Marshal(map[string]string{"instance": string(a.Instance.ID), "secret": a.CallbackSecret.Reveal()})
		},
	}
}

func (w *world) instances() []instance.Instance {
	w.Helper()
	list, err := w.store.Instances(w.ctx, instance.Filter{Tenant: tenant.Default, Deleted: true}, page.Page{Limit: 100})
	w.must(err)
	return list
}

func TestIdempotency(t *testing.T) {
	inWorld(t, func(w *world) {
		first, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), request("k", "f"))
		w.must(err)
		for range 2 {
			again, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), request("k", "f"))
			w.must(err)
			want := fmt.Sprintf(`{"instance":%q,"secret":""}`, first.Instance.ID) // the secret goes with the instance
			if string(again.Replay) != want {
				w.Errorf("replayed %s, want %s", again.Replay, want)
			}
		}
		if _, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), request("k", "other")); fault.CodeOf(err) != fault.CodeIdempotencyMismatch {
			w.Errorf("another request with the key: %v", err)
		}
		if n := len(w.instances()); n != 1 {
			w.Errorf("%d instances", n)
		}
		if a, err := w.service.Create(w.ctx, tenanttest.Owner("somebody"), request("k", "f")); err != nil || a.Replay != nil {
			w.Errorf("another tenant's key is the same: %v, %s", err, a.Replay)
		}
		// A refused request is not remembered.
		bad := request("k2", "f")
		bad.Plan = "none"
		if _, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), bad); fault.CodeOf(err) != fault.CodeInvalid {
			w.Errorf("%v", err)
		}
		if a, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), request("k2", "f")); err != nil || a.Replay != nil {
			w.Errorf("after a refusal: %v, %s", err, a.Replay)
		}
	})
}

// However many ask at once with the same key, in however many processes, one
// instance is made and all get the same answer.
func TestIdempotencyAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		other := w.serviceOn(w.store)
		answers := make([]instance.Accepted, 20)
		errs := make([]error, len(answers))
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				s := w.service
				if i%2 == 1 {
					s = other
				}
				answers[i], errs[i] = s.Create(w.ctx, tenanttest.Owner(tenant.Default), request("k", "f"))
			})
		}
		wg.Wait()
		w.must(errors.Join(errs...))
		firsts := 0
		for _, a := range answers {
			if a.Replay == nil {
				firsts++
			}
		}
		if n := len(w.instances()); n != 1 || firsts != 1 {
			w.Errorf("%d instances, %d first answers", n, firsts)
		}
	})
}

// A taken name is free again when its instance is deleted, and not before.
func TestNames(t *testing.T) {
	inWorld(t, func(w *world) {
		named := func() (instance.Accepted, error) {
			return w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), instance.CreateRequest{Engine: instancetest.EngineName, Name: "mine", HasName: true})
		}
		a, err := named()
		w.must(err)
		if _, err := named(); fault.CodeOf(err) != fault.CodeInvalid {
			w.Errorf("taken: %v", err)
		}
		d := w.delete(a.Instance.ID)
		if _, err := named(); fault.CodeOf(err) != fault.CodeInvalid {
			w.Errorf("deleting: %v", err)
		}
		w.spin(d.Job.ID)
		if _, err := named(); err != nil {
			w.Errorf("deleted: %v", err)
		}
	})
}

// A size that was refused is not asked about any further: the fake engine panics if
// it is.
func TestRefusedSizeIsNotChecked(t *testing.T) {
	inWorld(t, func(w *world) {
		tiny := int64(1)
		for _, req := range []instance.CreateRequest{
			{Plan: "none"}, {Resources: instance.ResourceRequest{MemoryBytes: &tiny}}, {Plan: "none", Parameters: map[string]any{"clients": "x"}},
		} {
			req.Engine = instancetest.EngineName
			_, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), req)
			var refusal *fault.Error
			if !errors.As(err, &refusal) || refusal.Code != fault.CodeInvalid || len(refusal.Fields) == 0 {
				w.Errorf("%+v", err)
			}
		}
	})
}

// failingStore fails the nth write of its transactions.
type failingStore struct {
	rooms.Store
	writes, failAt atomic.Int32
	err            error
}

func (s *failingStore) Tx(ctx context.Context, do func(rooms.Tx) error) error {
	return s.Store.Tx(ctx, func(tx rooms.Tx) error { return do(failingTx{tx, s}) })
}

func (s *failingStore) write() error {
	if s.writes.Add(1) == s.failAt.Load() {
		return s.err
	}
	return nil
}

type failingTx struct {
	rooms.Tx
	s *failingStore
}

func (t failingTx) InsertInstance(i instance.Instance) error {
	return cmpErr(t.s.write(), func() error { return t.Tx.InsertInstance(i) })
}

func (t failingTx) UpdateInstance(i instance.Instance) error {
	return cmpErr(t.s.write(), func() error { return t.Tx.UpdateInstance(i) })
}

func (t failingTx) InsertJob(j job.Job) error {
	return cmpErr(t.s.write(), func() error { return t.Tx.InsertJob(j) })
}

func (t failingTx) UpdateJob(j job.Job, fence int64) error {
	return cmpErr(t.s.write(), func() error { return t.Tx.UpdateJob(j, fence) })
}

func (t failingTx) PutCredentials(id instance.ID, s secret.Sealed) error {
	return cmpErr(t.s.write(), func() error { return t.Tx.PutCredentials(id, s) })
}

func (t failingTx) AppendEvent(e event.Event) error {
	return cmpErr(t.s.write(), func() error { return t.Tx.AppendEvent(e) })
}

func (t failingTx) PutIdempotent(r idempotency.Record) error {
	return cmpErr(t.s.write(), func() error { return t.Tx.PutIdempotent(r) })
}

func cmpErr(err error, do func() error) error {
	if err != nil {
		return err
	}
	return do()
}

// A database that fails at any write of an accept keeps nothing of it.
func TestAcceptIsAllOrNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		down := fault.Errorf(fault.CodeUnavailable, nil, "the database does not answer")
		for n := int32(1); ; n++ {
			s := &failingStore{Store: w.store, err: down}
			s.failAt.Store(n)
			_, err := w.serviceOn(s).Create(w.ctx, tenanttest.Owner(tenant.Default), request(fmt.Sprint("key", n), "f"))
			if err == nil {
				if n < 5 {
					w.Errorf("only %d writes", n)
				}
				break
			}
			if fault.CodeOf(err) != fault.CodeUnavailable || len(w.instances()) != 0 || len(w.queue.Take()) != 0 {
				w.Fatalf("write %d: %v; %d instances", n, err, len(w.instances()))
			}
			if _, err := w.store.Idempotent(w.ctx, tenant.Default, fmt.Sprint("key", n)); !errors.Is(err, fault.ErrNotFound) {
				w.Errorf("write %d: the answer was kept: %v", n, err)
			}
			jobs, err := w.store.Jobs(w.ctx, job.Filter{Tenant: tenant.Default}, page.Page{Limit: 9})
			if err != nil || len(jobs) != 0 {
				w.Errorf("write %d: %d jobs, %v", n, len(jobs), err)
			}
		}
	})
}

// A worker that is faster than a delete or a cancel does not make them fail.
func TestDeleteAndCancelMeetAWorker(t *testing.T) {
	for _, lost := range []error{fault.ErrFenced, fault.ErrConflict, fault.ErrBusy} {
		t.Run(lost.Error(), func(t *testing.T) {
			inWorld(t, func(w *world) {
				for n := int32(1); n <= 4; n++ {
					a := w.create()
					s := &failingStore{Store: w.store, err: lost}
					s.failAt.Store(n)
					if _, err := w.serviceOn(s).Delete(w.ctx, tenanttest.Owner(tenant.Default), "", a.Instance.ID, ""); err != nil {
						w.Errorf("delete, write %d: %v", n, err)
					}
					b := w.create()
					s = &failingStore{Store: w.store, err: lost}
					s.failAt.Store(n)
					if _, err := w.serviceOn(s).CancelJob(w.ctx, tenanttest.Owner(tenant.Default), b.Job.ID); err != nil {
						w.Errorf("cancel, write %d: %v", n, err)
					}
				}
			})
		})
	}
}

// A master key that is missing must not keep a job from its end, nor an instance
// from its delete: only the callback is lost, and an event says so.
func TestLostMasterKeyEndsJobs(t *testing.T) {
	inWorld(t, func(w *world) {
		req := request("", "")
		req.Idempotency, req.CallbackURL = nil, "https://hooks.test/a"
		a, err := w.service.Create(w.ctx, tenanttest.Owner(tenant.Default), req)
		w.must(err)
		w.tx(func(tx rooms.Tx) error {
			return tx.PutCredentials(a.Instance.ID, secret.Sealed{KeyID: "lost", Ciphertext: []byte("nobody can open this")})
		})
		if j := w.spin(a.Job.ID); j.State != job.Failed {
			w.Errorf("the create is %s", j.State)
		}
		if j := w.spin(w.delete(a.Instance.ID).Job.ID); j.State != job.Succeeded {
			w.Errorf("the delete is %s: %+v", j.State, j.Error)
		}
		w.gone(a.Instance.ID)
	})
}
