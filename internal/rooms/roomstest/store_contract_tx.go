package roomstest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
	"github.com/berth-project/berth/internal/webhook"
)

var errOnPurpose = errors.New("on purpose")

// everyWrite writes something of every kind and gives a function that asserts that
// nothing of it is there.
func (s shelf) everyWrite() (write func(rooms.Tx) error, nothing func()) {
	i := s.newInstance("whole")
	i.Labels = map[string]string{"a": "b"}
	j := s.newJob(i)
	h := host.Host{ID: host.ID(s.newID(host.Prefix)), Name: "whole", PortLow: 20000, PortHigh: 20010}
	d := webhook.Delivery{ID: webhook.DeliveryID(s.newID(webhook.PrefixDelivery)), Tenant: owner, Subject: id.Subject(i.ID), Job: j.ID, State: webhook.DeliveryPending, Body: []byte("{}")}
	record := idempotency.Record{Tenant: owner, Key: "k", Fingerprint: "f", Answer: secret.Sealed{KeyID: "1", Ciphertext: []byte("x")}, CreatedAt: at}
	write = func(tx rooms.Tx) error {
		_, hostErr := tx.PutHost(h)
		_, portErr := tx.TakePort(h, host.UnitID(i.ID), "redis", at)
		_, dutyErr := tx.TakeDuty("whole", "me", at, at.Add(time.Hour))
		return errors.Join(tx.InsertInstance(i), tx.InsertJob(j), tx.PutCredentials(i.ID, record.Answer), tx.InsertDelivery(d), tx.PutIdempotent(record),
			tx.AppendEvent(event.Event{ID: event.ID(s.newID(event.Prefix)), Tenant: owner, Type: "t", Subject: id.Subject(i.ID), At: at}), hostErr, portErr, dutyErr)
	}
	nothing = func() {
		s.Helper()
		_, err := s.store.Instance(s.ctx, i.ID)
		s.code(err, fault.CodeNotFound, "Instance")
		_, err = s.store.Job(s.ctx, j.ID)
		s.code(err, fault.CodeNotFound, "Job")
		_, err = s.store.Credentials(s.ctx, i.ID)
		s.code(err, fault.CodeNotFound, "Credentials")
		_, err = s.store.Delivery(s.ctx, d.ID)
		s.code(err, fault.CodeNotFound, "Delivery")
		_, err = s.store.Idempotent(s.ctx, owner, "k")
		s.code(err, fault.CodeNotFound, "Idempotent")
		_, err = s.store.Host(s.ctx, h.ID)
		s.code(err, fault.CodeNotFound, "Host")
		s.commit("what the failed transaction took is free", func(tx rooms.Tx) error {
			if port, err := heldPort(tx, h, host.UnitID(i.ID), "redis"); err != nil || port != 0 {
				s.Errorf("it holds %d, %v", port, err)
			}
			if mine, err := tx.TakeDuty("whole", "another", at, at.Add(time.Hour)); err != nil || !mine {
				s.Errorf("TakeDuty: %v, %v", mine, err)
			}
			return nil
		})
	}
	return write, nothing
}

func errorLeavesNothing(s shelf) {
	write, nothing := s.everyWrite()
	err := s.tx(func(tx rooms.Tx) error {
		s.ok(write(tx), "write")
		return errOnPurpose
	})
	if !errors.Is(err, errOnPurpose) {
		s.Fatalf("got %v, want the function's own error", err)
	}
	nothing()
}

func effectsFollow(s shelf) {
	i := s.newInstance("effects")
	var seen []string
	note := func(what string) func(context.Context) {
		return func(ctx context.Context) {
			if _, err := s.store.Instance(ctx, i.ID); err != nil {
				s.Errorf("%s: %v", what, err)
			}
			if _, limited := ctx.Deadline(); !limited {
				s.Errorf("%s: nothing limits how long it may take", what)
			}
			seen = append(seen, what)
		}
	}
	s.commit("write", func(tx rooms.Tx) error {
		tx.OnCommit(note("first"))
		err := tx.InsertInstance(i)
		tx.OnCommit(note("second"))
		if len(seen) > 0 {
			s.Error("an effect came before the commit")
		}
		return err
	})
	if strings.Join(seen, " ") != "first second" {
		s.Fatalf("seen %v", seen)
	}
	for _, fail := range []func(tx rooms.Tx) error{
		func(rooms.Tx) error { return errOnPurpose },
		func(tx rooms.Tx) error { return tx.InsertInstance(i) },
	} {
		err := s.tx(func(tx rooms.Tx) error {
			tx.OnCommit(note("of what was rolled back"))
			return fail(tx)
		})
		if err == nil || len(seen) != 2 {
			s.Errorf("%v, seen %v", err, seen)
		}
	}
	func() {
		defer func() { _ = recover() }()
		_ = s.tx(func(tx rooms.Tx) error {
			tx.OnCommit(note("of what panicked"))
			panic(errOnPurpose)
		})
	}()
	ctx, cancel := context.WithCancel(s.ctx)
	err := s.store.Tx(ctx, func(tx rooms.Tx) error {
		tx.OnCommit(note("after the end of the context"))
		cancel()
		return ctx.Err()
	})
	if err == nil || len(seen) != 2 {
		s.Errorf("%v, seen %v", err, seen)
	}
	ctx, cancel = context.WithCancel(s.ctx)
	s.ok(s.store.Tx(ctx, func(tx rooms.Tx) error {
		tx.OnCommit(func(context.Context) { cancel() })
		tx.OnCommit(note("third")) // whoever asked may be gone by now
		return nil
	}), "Tx")
	if strings.Join(seen, " ") != "first second third" {
		s.Errorf("seen %v", seen)
	}
}

func panicLeavesNothing(s shelf) {
	write, nothing := s.everyWrite()
	func() {
		defer func() {
			if recover() == nil {
				s.Error("the panic was swallowed")
			}
		}()
		_ = s.tx(func(tx rooms.Tx) error {
			s.ok(write(tx), "write")
			panic(errOnPurpose)
		})
	}()
	nothing()
}

func contextLeavesNothing(s shelf) {
	write, nothing := s.everyWrite()
	ctx, cancel := context.WithCancel(s.ctx)
	err := s.store.Tx(ctx, func(tx rooms.Tx) error {
		s.ok(write(tx), "write")
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		s.Errorf("ended in the middle: %v, want the context's error", err)
	}
	if err := s.store.Tx(ctx, write); !errors.Is(err, context.Canceled) {
		s.Errorf("ended before: %v, want the context's error", err)
	}
	if _, err := s.store.Instances(ctx, instance.Filter{Tenant: owner}, page.Page{Limit: 1}); !errors.Is(err, context.Canceled) {
		s.Errorf("a read: %v, want the context's error", err)
	}
	nothing()
}

func seenWhenCommitted(s shelf) {
	i := s.newInstance("seen")
	s.commit("insert", func(tx rooms.Tx) error {
		s.ok(tx.InsertInstance(i), "InsertInstance")
		if _, err := tx.Instance(i.ID); err != nil {
			s.Errorf("the transaction does not see its own write: %v", err)
		}
		_, err := s.store.Instance(s.ctx, i.ID)
		s.code(err, fault.CodeNotFound, "a read outside")
		return nil
	})
	s.storedInstance(i.ID)
}

// writersWait has many change one instance under the lock of its job's row: none
// of the changes is lost, and nobody sees an error.
func writersWait(s shelf) {
	const writers, rounds = 8, 5
	j := s.job("busy")
	claim := job.Claim{Job: j.ID, Subject: j.Subject, Fence: j.Fence}
	for _, err := range testenv.Together(writers, func(int) error {
		for range rounds {
			err := s.tx(func(tx rooms.Tx) error {
				if err := tx.CheckClaim(claim); err != nil {
					return err
				}
				i, err := tx.Instance(instance.ID(j.Subject))
				if err != nil {
					return err
				}
				i.Fence++
				return tx.UpdateInstance(i)
			})
			if err != nil {
				return err
			}
		}
		return nil
	}) {
		s.ok(err, "a writer")
	}
	if got := s.storedInstance(instance.ID(j.Subject)).Fence; got != writers*rounds {
		s.Fatalf("%d of %d changes are there", got, writers*rounds)
	}
}

// deadlocksPass has transactions take the same rows in opposite orders.
func deadlocksPass(s shelf) {
	const writers, rounds = 6, 5
	pair := []instance.ID{s.instance("one").ID, s.instance("two").ID}
	for _, err := range testenv.Together(writers, func(writer int) error {
		for round := range rounds {
			err := s.tx(func(tx rooms.Tx) error {
				secret := secret.Sealed{KeyID: "k", Ciphertext: []byte{byte(writer), byte(round)}}
				first := (writer + round) % 2
				return errors.Join(tx.PutCredentials(pair[first], secret), tx.PutCredentials(pair[1-first], secret))
			})
			if err != nil {
				return err
			}
		}
		return nil
	}) {
		s.ok(err, "a writer")
	}
	one, err := s.store.Credentials(s.ctx, pair[0])
	s.ok(err, "Credentials")
	two, err := s.store.Credentials(s.ctx, pair[1])
	s.ok(err, "Credentials")
	if string(one.Ciphertext) != string(two.Ciphertext) {
		s.Fatalf("one is of %v, the other of %v: a transaction is there by half", one.Ciphertext, two.Ciphertext)
	}
}

// unknownNotFound asks for ids as a client may send them.
func unknownNotFound(s shelf) {
	s.job("there")
	for _, theID := range []string{"", "ins_01J9ZQ4T8E4W2Y6N0G5R7K3M1C", "ins_ä", "☃", "a\x00b", "\xff\xfe", "' OR 1=1 --", "%", strings.Repeat("x", 5000)} {
		_, err := s.store.Instance(s.ctx, instance.ID(theID))
		s.code(err, fault.CodeNotFound, "Instance "+theID)
		_, err = s.store.Job(s.ctx, id.Job(theID))
		s.code(err, fault.CodeNotFound, "Job "+theID)
		_, err = s.store.ActiveJob(s.ctx, id.Subject(theID))
		s.code(err, fault.CodeNotFound, "ActiveJob "+theID)
		_, err = s.store.Credentials(s.ctx, instance.ID(theID))
		s.code(err, fault.CodeNotFound, "Credentials "+theID)
		_, err = s.store.Delivery(s.ctx, webhook.DeliveryID(theID))
		s.code(err, fault.CodeNotFound, "Delivery "+theID)
		_, err = s.store.Host(s.ctx, host.ID(theID))
		s.code(err, fault.CodeNotFound, "Host "+theID)
		_, err = s.store.Idempotent(s.ctx, owner, theID)
		s.code(err, fault.CodeNotFound, "Idempotent "+theID)
		for _, filter := range []instance.Filter{{Tenant: tenant.ID("t" + theID)}, {Tenant: owner, Name: "n" + theID}, {Tenant: owner, Labels: map[string]string{theID: theID}}} {
			list, err := s.store.Instances(s.ctx, filter, page.Page{Limit: 5})
			if err != nil || len(list) != 0 {
				s.Fatalf("Instances by %+v: %v, %v", filter, list, err)
			}
		}
		_, err = s.store.Jobs(s.ctx, job.Filter{Tenant: owner, Subject: id.Subject(theID)}, page.Page{Before: theID, Limit: 5})
		s.ok(err, "Jobs before "+theID)
	}
}
