package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// planPage is how long the pages are that the questions ask for, and planReads how many
// rows of index or table one of them may read: some for each row of the answer.
const (
	planPage  = 20
	planReads = 12*planPage + 60
)

// asked is what a call has sent to the database.
type asked struct {
	sql  string
	vars []any
}

// listen records every statement but inserts.
func listen(t *testing.T, s *Store) *[]asked {
	t.Helper()
	heard := &[]asked{}
	note := func(db *gorm.DB) {
		*heard = append(*heard, asked{db.Statement.SQL.String(), append([]any{}, db.Statement.Vars...)})
	}
	callbacks := s.db.Callback()
	for _, register := range []func() error{
		func() error { return callbacks.Query().After("gorm:query").Register("plan", note) },
		func() error { return callbacks.Row().After("gorm:row").Register("plan", note) },
		func() error { return callbacks.Update().After("gorm:update").Register("plan", note) },
		func() error { return callbacks.Delete().After("gorm:delete").Register("plan", note) },
	} {
		if err := register(); err != nil {
			t.Fatal(err)
		}
	}
	return heard
}

// TestPlans asks every question that is asked while Berth works, of tables in which
// nearly all rows are beside the point. SQLite tells how it will answer: from an index,
// in its order. MySQL tells how many rows it has read. So the answer costs as much at a
// million instances as here, without a clock.
func TestPlans(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openMigrated(t, databaseURL)
		fillForPlans(t, s)
		pool, err := s.db.DB()
		if err != nil {
			t.Fatal(err)
		}
		pool.SetMaxOpenConns(1) // its counters are the session's
		heard := listen(t, s)
		for _, q := range withFences(questions()) {
			*heard = nil
			before := s.rowsRead(t)
			if err := q.ask(t.Context(), s); err != nil {
				t.Errorf("%s: %v", q.name, err)
				continue
			}
			if s.dialect == dialectSQLite {
				for _, a := range *heard {
					s.explain(t, q, a)
				}
				continue
			}
			bound := int64(planReads)
			if q.reads > 0 {
				bound = q.reads
			}
			if n := s.rowsRead(t) - before; n > bound {
				t.Errorf("%s read %d rows:\n%v", q.name, n, *heard)
			}
		}
	})
}

// rowsRead gives MySQL's count of the rows that this session has read.
func (s *Store) rowsRead(t *testing.T) (sum int64) {
	t.Helper()
	if s.dialect != dialectMySQL {
		return 0
	}
	pool, err := s.db.DB()
	if err != nil {
		t.Fatal(err)
	}
	rows, err := pool.QueryContext(t.Context(), "SHOW SESSION STATUS LIKE 'Handler_read%'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // it was read to its end
	lines := 0
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			t.Fatal(err)
		}
		sum += n
		lines++
	}
	if rows.Err() != nil || lines == 0 {
		t.Fatalf("the server does not count: %d lines, %v", lines, rows.Err())
	}
	return sum
}

// explain fails where SQLite would go through a table, or sort.
func (s *Store) explain(t *testing.T, q question, a asked) {
	t.Helper()
	rows, err := s.db.Raw("EXPLAIN QUERY PLAN "+a.sql, a.vars...).Rows()
	if err != nil {
		t.Fatalf("%s: %v: %s", q.name, err, a.sql)
	}
	defer rows.Close() //nolint:errcheck // it was read to its end
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		scans := strings.HasPrefix(detail, "SCAN ") && !strings.HasPrefix(detail, "SCAN live")
		sorts := strings.HasPrefix(detail, "USE TEMP B-TREE") || strings.HasPrefix(detail, "LIST SUBQUERY")
		if (scans || sorts) && !slices.ContainsFunc(q.allow, func(right string) bool { return strings.Contains(detail, right) }) {
			t.Errorf("%s: %s\n%s %v", q.name, detail, a.sql, a.vars)
		}
	}
	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}
}

// question is one call that is made while Berth works.
type question struct {
	name string
	ask  func(context.Context, *Store) error
	// allow are in the lines of SQLite's plan that are right as they are; reads is how many rows
	// MySQL may read instead of planReads.
	allow []string
	reads int64
	// workers: it is not asked within a fence, but by workers or before the caller is known. of is whose fence it is asked within;
	// empty: the default tenant's.
	workers bool
	of      tenant.ID
}

// withFences adds each question as the API asks it, within the fence of a tenant.
func withFences(all []question) []question {
	for _, q := range slices.Clone(all) {
		if q.workers {
			continue
		}
		ask, of := q.ask, tenant.Default
		if q.of != "" {
			of = q.of
		}
		q.name += ", within the fence"
		q.ask = func(ctx context.Context, s *Store) error { return ask(tenant.Within(ctx, of), s) }
		all = append(all, q)
	}
	return all
}

func inTx(do func(rooms.Tx) error) func(context.Context, *Store) error {
	return func(ctx context.Context, s *Store) error { return s.Tx(ctx, do) }
}

func listed(f instance.Filter, before string) func(context.Context, *Store) error {
	return func(ctx context.Context, s *Store) error {
		found, err := s.Instances(ctx, f, page.Page{Before: before, Limit: planPage})
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("nothing found")
		}
		return err
	}
}

func jobsListed(f job.Filter, before string) func(context.Context, *Store) error {
	return func(ctx context.Context, s *Store) error {
		found, err := s.Jobs(ctx, f, page.Page{Before: before, Limit: planPage})
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("nothing found")
		}
		return err
	}
}

func deliveriesListed(f webhook.DeliveryFilter) func(context.Context, *Store) error {
	return func(ctx context.Context, s *Store) error {
		_, err := s.Deliveries(ctx, f, page.Page{Limit: planPage})
		return err
	}
}

func ask[T any](do func(context.Context, *Store) (T, error)) func(context.Context, *Store) error {
	return func(ctx context.Context, s *Store) error {
		_, err := do(ctx, s)
		return err
	}
}

func questions() []question {
	h := host.Host{ID: "hst_1", Name: "one", PortLow: 20000, PortHigh: 20999}
	now := planNow
	deep, deepJob := fmt.Sprintf("ins_%07d", planRows/2), fmt.Sprintf("job_%07d", planRows/2)
	team, rare := map[string]string{"team": "a"}, map[string]string{"rare": "yes"}
	return []question{
		{name: "instances: first page", ask: listed(instance.Filter{Tenant: "default"}, "")},
		{name: "instances: deep page", ask: listed(instance.Filter{Tenant: "default"}, deep)},
		{name: "instances: of a state", ask: listed(instance.Filter{Tenant: "default", State: instance.StateFailed}, "")},
		{name: "instances: of a rare engine", ask: listed(instance.Filter{Tenant: "default", Engine: "redis"}, "")},
		{name: "instances: with the deleted", ask: listed(instance.Filter{Tenant: "default", Deleted: true}, deep)},
		{name: "instances: by name", ask: listed(instance.Filter{Tenant: "default", Name: "name-100"}, "")},
		{name: "instances: by name, with the deleted", ask: listed(instance.Filter{Tenant: "default", Name: "name-100", Deleted: true}, "")},
		{name: "instances: by a label that all have", ask: listed(instance.Filter{Tenant: "default", Labels: team}, "")},
		{name: "instances: by a label that all have, deep", ask: listed(instance.Filter{Tenant: "default", Labels: team}, deep)},
		{name: "instances: by a rare label", ask: listed(instance.Filter{Tenant: "default", Labels: rare}, "")},
		{name: "instances: by two labels", ask: listed(instance.Filter{Tenant: "default", Labels: map[string]string{"rare": "yes", "team": "a"}}, "")},
		{name: "instances: by name and label", ask: listed(instance.Filter{Tenant: "default", Name: "name-100", Labels: team}, "")},
		{name: "instances: that are warm", of: tenant.Nobody, ask: listed(instance.Filter{Tenant: tenant.Nobody, State: instance.StateWarm}, "")},
		{name: "jobs: first page", ask: jobsListed(job.Filter{Tenant: "default"}, "")},
		{name: "jobs: deep page", ask: jobsListed(job.Filter{Tenant: "default"}, deepJob)},
		{name: "jobs: of an instance", ask: jobsListed(job.Filter{Tenant: "default", Subject: "ins_0000100"}, "")},
		{name: "jobs: below another", ask: jobsListed(job.Filter{Tenant: "default", Parent: "job_0000100"}, "")},
		{name: "jobs: of a state", ask: jobsListed(job.Filter{Tenant: "default", State: job.Queued}, "")},
		{name: "jobs: of a rare kind", ask: jobsListed(job.Filter{Tenant: "default", Kind: instance.JobDelete}, "")},
		{name: "jobs: that have ended", ask: ask(func(ctx context.Context, s *Store) ([]id.Job, error) {
			return s.EndedJobs(ctx, []id.Job{"job_0000001", "job_0000002", "job_0000003"})
		})},
		{name: "jobs: that are due", workers: true, ask: ask(func(ctx context.Context, s *Store) ([]job.Job, error) { return s.DueJobs(ctx, now, planPage) })},
		{name: "jobs: the active one", ask: ask(func(ctx context.Context, s *Store) (job.Job, error) {
			return s.ActiveJob(ctx, id.Subject(fmt.Sprintf("ins_%07d", planRows-1)))
		})},
		{name: "jobs: the children of one", ask: inTx(func(tx rooms.Tx) error {
			_, err := tx.ChildJobs(id.Job(fmt.Sprintf("job_%07d", planRows-1)))
			return err
		})},
		{name: "jobs: count of the living of a tenant", ask: inTx(func(tx rooms.Tx) error { return live(tx, "default") })},
		{name: "jobs: count of the living", ask: inTx(func(tx rooms.Tx) error { return live(tx, "") }), allow: []string{"COVERING INDEX"}},
		{name: "webhooks: end one", ask: inTx(func(tx rooms.Tx) error {
			return errors.Join(tx.EndDeliveries("whk_2", "why", now), fault.IgnoreLostRace(tx.DeleteWebhook("whk_2")))
		})},
		{name: "credentials and watch: read, write, end", ask: inTx(func(tx rooms.Tx) error {
			err := tx.PutCredentials("ins_0000100", secret.Sealed{KeyID: "k", Ciphertext: []byte{1}})
			_, read := tx.Credentials("ins_0000100")
			return errors.Join(err, read, tx.DeleteCredentials("ins_0000100"), tx.EndWatch("ins_0000100"))
		})},
		{name: "instances: replace one, with its label", ask: replaceWarm},
		{name: "jobs: claim", ask: inTx(func(tx rooms.Tx) error {
			return tx.CheckClaim(job.Claim{Job: id.Job(fmt.Sprintf("job_%07d", planRows-1))})
		})},
		{name: "deliveries: that are due", workers: true, ask: ask(func(ctx context.Context, s *Store) ([]webhook.Delivery, error) {
			due, _, err := s.DueDeliveries(ctx, now, "", planPage)
			return due, err
		}), allow: []string{"SCAN step", "TEMP B-TREE FOR ORDER BY"}}, // of the receivers, no more than are asked for
		{name: "deliveries: that are too old", workers: true, ask: ask(func(ctx context.Context, s *Store) ([]webhook.Delivery, error) {
			return s.ExpiredDeliveries(ctx, now.Add(-time.Minute), now, planPage)
		})},
		{name: "deliveries: the next of a receiver", workers: true, ask: ask(func(ctx context.Context, s *Store) (webhook.Delivery, error) {
			return s.NextDelivery(ctx, "whk_1", now)
		})},
		{name: "deliveries: first page", ask: deliveriesListed(webhook.DeliveryFilter{Tenant: "default"})},
		{name: "deliveries: of a webhook", ask: deliveriesListed(webhook.DeliveryFilter{Tenant: "default", Webhook: "whk_1"})},
		{name: "events: a page", ask: ask(func(ctx context.Context, s *Store) ([]event.Event, error) {
			return s.Events(ctx, event.Filter{Tenant: "default"}, planRows/2, planPage)
		})},
		{name: "events: of an instance", ask: ask(func(ctx context.Context, s *Store) ([]event.Event, error) {
			return s.Events(ctx, event.Filter{Tenant: "default", Subject: "ins_0000100"}, 0, planPage)
		})},
		{name: "events: without a number", workers: true, ask: ask(func(ctx context.Context, s *Store) ([]event.Unnumbered, error) {
			return s.UnnumberedEvents(ctx, planPage)
		}), allow: []string{"events_unnumbered"}},
		{name: "events: give numbers", workers: true, ask: func(ctx context.Context, s *Store) error {
			list, err := s.UnnumberedEvents(ctx, planPage)
			if err != nil {
				return err
			}
			return s.Tx(ctx, func(tx rooms.Tx) error { return tx.NumberEvents(list) })
		}, allow: []string{"events_unnumbered"}},
		{name: "events: that are too old", workers: true, ask: inTx(func(tx rooms.Tx) error {
			_, err := tx.DeleteEvents(now.Add(-time.Hour), planPage)
			return err
		})},
		{name: "whatever is too old", workers: true, ask: inTx(func(tx rooms.Tx) error {
			_, err := rooms.DeleteOld(tx, now.Add(-time.Hour), planPage)
			return err
		})},
		{name: "users: first page", ask: ask(func(ctx context.Context, s *Store) ([]tenant.User, error) {
			return s.Users(ctx, page.Page{Limit: planPage})
		}), allow: []string{"SCAN users USING INDEX"}},
		{name: "users: by login name", ask: ask(func(ctx context.Context, s *Store) (tenant.User, error) { return s.UserByLogin(ctx, "user-100") })},
		{name: "members: of a tenant", ask: ask(func(ctx context.Context, s *Store) ([]tenant.Membership, error) {
			return s.Members(ctx, "default", page.Page{Before: "usr_0000100", Limit: planPage})
		})},
		{name: "members: one", ask: ask(func(ctx context.Context, s *Store) (tenant.Membership, error) {
			return s.Membership(ctx, "default", "usr_0000100")
		})},
		{name: "members: the tenants of a user", allow: []string{"TEMP B-TREE FOR ORDER BY"}, ask: ask(func(ctx context.Context, s *Store) ([]tenant.Workplace, error) {
			return s.Workplaces(ctx, "usr_0000100")
		})},
		{name: "members: whether there is another owner", ask: inTx(func(tx rooms.Tx) error {
			_, err := tx.OtherOwners("default", "usr_0000100")
			return err
		})},
		{name: "sessions: by hash", workers: true, ask: ask(func(ctx context.Context, s *Store) (tenant.Login, error) { return s.LoginByHash(ctx, "hash-100") })},
		{name: "sessions: the oldest, and all, of a user", workers: true, ask: inTx(func(tx rooms.Tx) error {
			return errors.Join(tx.DeleteOldestSessions("usr_0000100", 2), tx.DeleteSessions("usr_0000100"), tx.DeleteResets("usr_0000100"))
		})},
		{name: "invitations: open ones", ask: ask(func(ctx context.Context, s *Store) ([]tenant.Invitation, error) {
			return s.Invitations(ctx, "default", now, page.Page{Limit: planPage})
		})},
		{name: "instances: kept for inspection", workers: true, ask: ask(func(ctx context.Context, s *Store) ([]instance.ID, error) {
			return s.KeptInstances(ctx, now, planPage)
		})},
		{name: "instances: on a host", workers: true, ask: ask(func(ctx context.Context, s *Store) ([]instance.Instance, error) {
			return s.InstancesOn(ctx, "hst_1", "ins_0000100", planPage)
		})},
		{name: "instances: by id", ask: ask(func(ctx context.Context, s *Store) ([]instance.Instance, error) {
			return s.InstancesByID(ctx, []instance.ID{"ins_0000001", "ins_0000002"})
		})},
		{name: "watches: whether any is due", workers: true, ask: ask(func(ctx context.Context, s *Store) (bool, error) { return s.WatchesDue(ctx, now) })},
		{name: "watches: claim", workers: true, ask: inTx(func(tx rooms.Tx) error {
			_, err := tx.ClaimWatches("clm_1", now, now.Add(time.Minute), time.Second, planPage)
			return err
		})},
		{name: "ports: whether one is left", ask: ask(func(ctx context.Context, s *Store) (bool, error) { return s.PortsLeft(ctx, h, 2, now) })},
		{name: "ports: take, and give back", ask: inTx(func(tx rooms.Tx) error {
			if _, err := tx.TakePort(h, "ins_0000001", "redis", now); err != nil {
				return err
			}
			return tx.RestPorts("ins_0000001", now)
		})},
		{name: "hosts: what a unit has there", workers: true, ask: inTx(func(tx rooms.Tx) error {
			_, err := tx.Situation("hst_1", "ins_0000002")
			return err
		})},
		{name: "hosts: whether one is occupied", ask: ask(func(ctx context.Context, s *Store) (bool, error) { return s.Occupied(ctx, "hst_1") })},
		// They are as many as the host has ports, once a sweep, whatever else there is.
		{name: "ports: stranded", workers: true, reads: 8 * planPorts, allow: []string{"TEMP B-TREE FOR DISTINCT"}, ask: ask(func(ctx context.Context, s *Store) ([]host.UnitID, error) {
			return s.Stranded(ctx, "hst_1", "", planPage)
		})},
	}
}

// replaceWarm has the default tenant take over a warm instance, and takes that back.
func replaceWarm(ctx context.Context, s *Store) error {
	warm, err := s.Instances(tenant.Within(ctx, tenant.Nobody), instance.Filter{Tenant: tenant.Nobody, State: instance.StateWarm}, page.Page{Limit: 1})
	if err != nil || len(warm) == 0 {
		return fmt.Errorf("%d warm: %w", len(warm), err)
	}
	i := warm[0]
	i.Tenant, i.Name, i.State, i.Labels = tenant.Default, "claimed", instance.StatePending, map[string]string{"team": "a"}
	err = s.Tx(ctx, func(tx rooms.Tx) error { return errors.Join(tx.ReplaceInstance(i), errBack) })
	if !errors.Is(err, errBack) || strings.Contains(err.Error(), "\n") {
		return err
	}
	return nil
}

func live(tx rooms.Tx, tenant tenant.ID) error {
	n, err := tx.LiveJobs(tenant, planPage)
	if err == nil && n != planPage {
		err = fmt.Errorf("%d live jobs", n)
	}
	return err
}
