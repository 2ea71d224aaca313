package roomstest

import (
	"errors"
	"fmt"
	"slices"
	"time"

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

func credentials(s shelf) {
	i := s.instance("secret")
	read := func() (secret.Sealed, error) { return s.store.Credentials(s.ctx, i.ID) }
	_, err := read()
	s.code(err, fault.CodeNotFound, "Credentials before there are any")
	for _, want := range []secret.Sealed{
		{KeyID: "one", Ciphertext: []byte{0, 1, 0xff, '\'', '\\', 0}}, {KeyID: "two", Ciphertext: []byte("another")},
	} {
		s.commit("PutCredentials", func(tx rooms.Tx) error {
			if err := tx.PutCredentials(i.ID, want); err != nil {
				return err
			}
			got, err := tx.Credentials(i.ID)
			s.same(got, want, err)
			return nil
		})
		got, err := read()
		s.same(got, want, err)
	}
	for range 2 { // the second time there is nothing to delete
		s.commit("DeleteCredentials", func(tx rooms.Tx) error { return tx.DeleteCredentials(i.ID) })
		_, err = read()
		s.code(err, fault.CodeNotFound, "Credentials after their end")
	}
}

func (s shelf) delivery(change ...func(*webhook.Delivery)) webhook.Delivery {
	s.Helper()
	d := webhook.Delivery{
		ID: webhook.DeliveryID(s.newID(webhook.PrefixDelivery)), Tenant: owner, Subject: "ins_1", Job: "job_1", Event: "evt_1",
		URL: "https://example.com/hook", Body: []byte(`{"a":"ü"}`), Secret: secret.Sealed{KeyID: "k", Ciphertext: []byte{0, 0xff}},
		State: webhook.DeliveryPending, Attempt: 1, LastStatus: 503, LastError: "why", DueAt: at, Generation: 1, WakeAt: at, ExpiresAt: at.Add(time.Hour), CreatedAt: at, UpdatedAt: at,
	}
	for _, c := range change {
		c(&d)
	}
	s.commit("InsertDelivery", func(tx rooms.Tx) error { return tx.InsertDelivery(d) })
	got, err := s.store.Delivery(s.ctx, d.ID)
	s.same(got, d, err)
	return d
}

func deliveries(s shelf) {
	before := s.delivery()
	after := before
	after.Attempt, after.LastStatus, after.LastError, after.WakeAt, after.ExpiresAt, after.Generation = 2, 0, "", at.Add(time.Hour), at.Add(2*time.Hour), 2
	update := func(tx rooms.Tx) error { return tx.UpdateDelivery(after, before) }
	s.oneWinner(testenv.Together(4, func(int) error { return s.tx(update) }), fault.CodeConflict)
	got, err := s.store.Delivery(s.ctx, before.ID)
	s.same(got, after, err)
	for what, change := range map[string]func(*webhook.Delivery){
		"attempt": func(d *webhook.Delivery) { d.Attempt++ }, "generation": func(d *webhook.Delivery) { d.Generation++ },
	} {
		seen := after
		change(&seen)
		s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateDelivery(after, seen) }), fault.CodeConflict, "UpdateDelivery of another "+what)
	}
	s.commit("with nothing changed", func(tx rooms.Tx) error { return tx.UpdateDelivery(after, after) })

	ended := after
	ended.State, ended.WakeAt, ended.Secret = webhook.DeliveryDelivered, time.Time{}, secret.Sealed{}
	s.commit("end", func(tx rooms.Tx) error { return tx.UpdateDelivery(ended, after) })
	got, err = s.store.Delivery(s.ctx, before.ID)
	if len(got.Secret.Ciphertext) == 0 { // no bytes are as good as none
		got.Secret.Ciphertext = nil
	}
	s.same(got, ended, err)
}

func (s shelf) record(owner tenant.ID, key string, age time.Duration) idempotency.Record {
	return idempotency.Record{
		Tenant: owner, Key: key, Fingerprint: "f", Answer: secret.Sealed{KeyID: "k", Ciphertext: []byte{1, 0, 0xff}}, CreatedAt: at.Add(-age),
	}
}

func idempotencyKeys(s shelf) {
	record := s.record(owner, "Clé ☃ "+fmt.Sprintf("%0240d", 1), 0)
	put := func(r idempotency.Record) error {
		return s.tx(func(tx rooms.Tx) error { return tx.PutIdempotent(r) })
	}
	s.oneWinner(testenv.Together(6, func(int) error { return put(record) }), fault.CodeConflict)
	got, err := s.store.Idempotent(s.ctx, owner, record.Key)
	s.same(got, record, err)
	_, err = s.store.Idempotent(s.ctx, "other", record.Key)
	s.code(err, fault.CodeNotFound, "the same key of another tenant")
	_, err = s.store.Idempotent(s.ctx, owner, "c"+record.Key[1:])
	s.code(err, fault.CodeNotFound, "the same key in other letters")
	other := record
	other.Tenant = "other"
	s.ok(put(other), "PutIdempotent of another tenant")
}

func hosts(s shelf) {
	h1 := host.Host{
		ID: host.ID(s.newID(host.Prefix)), Name: "local", Endpoint: "unix:///var/run/docker.sock", Advertise: "db.example", Bind: "0.0.0.0", PortLow: 20000, PortHigh: 29999,
		Source: host.FromEnvironment, State: host.StateOnline, Health: host.Healthy, Rev: 1,
	}
	put := func(h host.Host) (stored host.Host, err error) {
		err = s.tx(func(tx rooms.Tx) error {
			stored, err = tx.PutHost(h)
			return err
		})
		return stored, err
	}
	got, err := put(h1)
	s.same(got, h1, err)
	changed := h1
	changed.ID, changed.Endpoint, changed.PortHigh = host.ID(s.newID(host.Prefix)), "tcp://10.0.0.7:2376", 20100
	got, err = put(changed)
	changed.ID = h1.ID
	s.same(got, changed, err)
	got, err = put(changed) // nothing changes
	s.same(got, changed, err)
	got, err = s.store.Host(s.ctx, h1.ID)
	s.same(got, changed, err)

	before := changed
	changed.Engine, changed.MissingSince = "ABCD:EFGH", at
	mark := func(after, before host.Host) error {
		return s.tx(func(tx rooms.Tx) error { return tx.MarkHost(after, before) })
	}
	s.ok(mark(changed, before), "MarkHost")
	changed.Rev++
	if err := mark(before, before); !errors.Is(err, fault.ErrConflict) {
		s.Fatalf("MarkHost of one that has changed: %v", err)
	}
	got, err = put(before) // leaves the marks
	s.same(got, changed, err)
	s.ok(mark(before, changed), "MarkHost back")

	given := make([]host.ID, 6)
	for _, err := range testenv.Together(len(given), func(n int) error {
		got, err := put(host.Host{ID: host.ID(s.newID(host.Prefix)), Name: "second"})
		given[n] = got.ID
		return err
	}) {
		s.ok(err, "PutHost")
	}
	if same := slices.Compact(given); len(same) != 1 {
		s.Fatalf("one host has the ids %v", same)
	}
	list, err := s.store.Hosts(s.ctx)
	if got := ids(list, func(h host.Host) string { return h.Name }); err != nil || !slices.Equal(got, []string{"local", "second"}) {
		s.Fatalf("the hosts are %v, %v", got, err)
	}
}

func (s shelf) takeDuty(owner string, now time.Time) (mine bool, err error) {
	err = s.tx(func(tx rooms.Tx) error {
		mine, err = tx.TakeDuty("relay", owner, now, now.Add(time.Minute))
		return err
	})
	return mine, err
}

func duty(s shelf) {
	for _, step := range []struct {
		owner string
		after time.Duration
		want  bool
	}{
		{"one", 0, true}, {"two", 0, false}, {"two", time.Minute - 1e6, false},
		{"one", 30 * time.Second, true}, {"one", 30 * time.Second, true}, // its owner renews it, also twice in one moment
		{"two", time.Minute, false}, {"two", 90 * time.Second, true}, {"one", 90 * time.Second, false},
	} {
		if mine, err := s.takeDuty(step.owner, at.Add(step.after)); err != nil || mine != step.want {
			s.Fatalf("%s after %s: %v, %v, want %v", step.owner, step.after, mine, err, step.want)
		}
	}
	s.commit("another duty", func(tx rooms.Tx) error {
		mine, err := tx.TakeDuty("janitor", "one", at, at.Add(time.Minute))
		if !mine {
			s.Error("it is not to be had")
		}
		return err
	})
}

// dutyRace has a duty that nobody ever had, and then one whose owner has vanished.
func dutyRace(s shelf) {
	for round := range 3 {
		now := at.Add(time.Duration(round) * time.Hour)
		s.oneWinner(testenv.Together(8, func(n int) error {
			mine, err := s.takeDuty(fmt.Sprintf("%d/%d", round, n), now)
			if err == nil && !mine {
				return fault.ErrBusy
			}
			return err
		}), fault.CodeBusy)
	}
}

func (s shelf) deleteExpired(limit int) int {
	s.Helper()
	removed := 0
	s.commit("DeleteOld", func(tx rooms.Tx) error {
		var err error
		removed, err = rooms.DeleteOld(tx, at, limit)
		return err
	})
	return removed
}

func expired(s shelf) {
	const old = time.Hour
	deleted := func(name string, age time.Duration) instance.ID {
		return s.instance(name, func(i *instance.Instance) {
			i.State, i.DeletedAt, i.Labels = instance.StateDeleted, at.Add(-age), map[string]string{"l": name}
		}).ID
	}
	goneInstance, keptInstance := deleted("gone", old), deleted("kept", 0)
	living := s.job("living", func(j *job.Job) { j.CreatedAt, j.UpdatedAt = at.Add(-old), at.Add(-old) })
	ended := func(name string, age time.Duration) id.Job {
		return s.job(name, func(j *job.Job) {
			j.State, j.WakeAt, j.FinishedAt = job.Failed, time.Time{}, at.Add(-age)
		}).ID
	}
	goneJob, keptJob := ended("gone-job", old), ended("kept-job", 0)
	told := func(state webhook.DeliveryState, age time.Duration) webhook.DeliveryID {
		return s.delivery(func(d *webhook.Delivery) { d.State, d.UpdatedAt = state, at.Add(-age) }).ID
	}
	gone1, gone2 := told(webhook.DeliveryDelivered, old), told(webhook.DeliveryExhausted, old)
	kept1, kept2 := told(webhook.DeliveryDelivered, 0), told(webhook.DeliveryPending, old)
	s.commit("PutIdempotent", func(tx rooms.Tx) error {
		return errors.Join(tx.PutIdempotent(s.record(owner, "same", old)), tx.PutIdempotent(s.record("other", "same", 0)))
	})

	if got := s.deleteExpired(100); got < 5 {
		s.Errorf("%d removed, want at least 5", got)
	}
	for what, err := range map[string]error{
		"instance": second(s.store.Instance(s.ctx, goneInstance)), "job": second(s.store.Job(s.ctx, goneJob)), "delivered": second(s.store.Delivery(s.ctx, gone1)),
		"exhausted": second(s.store.Delivery(s.ctx, gone2)), "answer": second(s.store.Idempotent(s.ctx, owner, "same")),
	} {
		s.code(err, fault.CodeNotFound, "an old "+what)
	}
	for what, err := range map[string]error{
		"instance": second(s.store.Instance(s.ctx, keptInstance)), "job": second(s.store.Job(s.ctx, keptJob)), "delivery": second(s.store.Delivery(s.ctx, kept1)),
		"pending delivery": second(s.store.Delivery(s.ctx, kept2)), "another tenant's answer": second(s.store.Idempotent(s.ctx, "other", "same")),
		"living instance": second(s.store.Instance(s.ctx, instance.ID(living.Subject))), "living job": second(s.store.Job(s.ctx, living.ID)),
	} {
		s.ok(err, "a "+what+" to be kept")
	}
	if got := s.deleteExpired(100); got != 0 {
		s.Errorf("the second time %d removed", got)
	}
}

func second[T any](_ T, err error) error { return err }

// expiredLimit removes in small batches until nothing is left.
func expiredLimit(s shelf) {
	const count, limit = 7, 2
	for n := range count {
		s.instance(fmt.Sprint("gone-", n), func(i *instance.Instance) {
			i.State, i.DeletedAt, i.Labels = instance.StateDeleted, at.Add(-time.Hour), map[string]string{"a": "1", "b": "2", "c": "3"}
		})
	}
	for calls := 1; ; calls++ {
		before, err := s.store.Instances(s.ctx, instance.Filter{Tenant: owner, Deleted: true}, page.Page{Limit: 100})
		s.ok(err, "Instances")
		removed := s.deleteExpired(limit)
		after, err := s.store.Instances(s.ctx, instance.Filter{Tenant: owner, Deleted: true}, page.Page{Limit: 100})
		s.ok(err, "Instances")
		if len(before)-len(after) > limit {
			s.Fatalf("%d removed at once, want at most %d", len(before)-len(after), limit)
		}
		if removed == 0 {
			if len(after) != 0 {
				s.Fatalf("%d are left", len(after))
			}
			return
		}
		if calls > 10*count {
			s.Fatal("it does not come to an end")
		}
	}
}
