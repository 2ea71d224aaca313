package roomstest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/rooms"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/testenv"
)

func jobRoundTrip(s shelf) {
	i := s.instance("full")
	full := job.Job{
		ID: id.Job(s.newID(job.Prefix)), Tenant: owner, Subject: id.Subject(i.ID), Class: "redis", Kind: instance.JobDelete, State: job.Running,
		Steps: []job.Step{
			{Name: "image", State: job.StepDone, Attempt: 2, Detail: "pulled 🚢", StartedAt: at, FinishedAt: at.Add(time.Second)},
			{Name: "start", State: job.StepFailed, Attempt: 1, Error: "it \"ended\"", StartedAt: at.Add(time.Second)},
			{Name: "ready", State: job.StepWaiting},
		},
		Error:   &job.Error{Code: fault.CodeStartFailed, Step: "start", Message: "why\nand what now", Retryable: true},
		Attempt: 3, Crashes: 2, Undoing: true, Fence: 9, Owner: "host/1", LeaseUntil: at.Add(10 * time.Second), Generation: 4, WakeAt: at.Add(time.Minute),
		CallbackURL: "https://example.com/hook?a=b", OnFailure: job.OnFailureKeep, Deadline: at.Add(time.Hour), CreatedAt: at, StartedAt: at.Add(time.Millisecond), UpdatedAt: at.Add(2 * time.Millisecond),
	}
	s.commit("InsertJob", func(tx rooms.Tx) error {
		if err := tx.InsertJob(full); err != nil {
			return err
		}
		got, err := tx.Job(full.ID)
		s.same(got, full, err)
		got, err = tx.ActiveJob(id.Subject(i.ID))
		s.same(got, full, err)
		return nil
	})
	s.same(s.storedJob(full.ID), full, nil)

	// The same by an update, down to the zero values.
	ended := full
	ended.State, ended.Error, ended.Owner, ended.LeaseUntil, ended.WakeAt = job.Succeeded, nil, "", time.Time{}, time.Time{}
	ended.Undoing, ended.Crashes, ended.Attempt, ended.FinishedAt = false, 0, 0, at.Add(time.Hour)
	s.commit("UpdateJob", func(tx rooms.Tx) error { return tx.UpdateJob(ended, full.Fence) })
	s.same(s.storedJob(full.ID), ended, nil)
	s.same(s.job("bare"), s.storedJob(s.activeJob("bare")), nil)
}

// activeJob gives the id of the job of the instance of that name.
func (s shelf) activeJob(name string) id.Job {
	s.Helper()
	list, err := s.store.Instances(s.ctx, instance.Filter{Tenant: owner, Name: name}, page.Page{Limit: 1})
	if err != nil || len(list) != 1 {
		s.Fatalf("Instances: %v, %v", list, err)
	}
	j, err := s.store.ActiveJob(s.ctx, id.Subject(list[0].ID))
	s.ok(err, "ActiveJob")
	return j.ID
}

func claimOf(j job.Job) job.Claim {
	return job.Claim{Job: j.ID, Subject: j.Subject, Fence: j.Fence}
}

// claim gives the job to a worker, as a Runner does.
func (s shelf) claim(j job.Job, owner string) error {
	return s.tx(func(tx rooms.Tx) error {
		before := j.Fence
		mine := j
		mine.State, mine.Owner, mine.Fence = job.Running, owner, before+1
		return tx.UpdateJob(mine, before)
	})
}

func jobFence(s shelf) {
	j := s.job("fence")
	s.ok(s.claim(j, "one"), "claim")
	one := s.storedJob(j.ID)
	s.code(s.claim(j, "late"), fault.CodeFenced, "a claim of what was claimed")
	s.commit("its own writes", func(tx rooms.Tx) error {
		return errors.Join(tx.CheckClaim(claimOf(one)), tx.UpdateJob(one, one.Fence), tx.UpdateJob(one, one.Fence)) // a write that changes nothing is one, too
	})
	s.ok(s.claim(one, "two"), "the next claim")
	s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateJob(one, one.Fence) }), fault.CodeFenced, "UpdateJob by the one before")
	s.code(s.tx(func(tx rooms.Tx) error { return tx.CheckClaim(claimOf(one)) }), fault.CodeFenced, "CheckClaim by the one before")
	if two := s.storedJob(j.ID); two.Owner != "two" || two.Fence != one.Fence+1 {
		s.Fatalf("it is %+v", two)
	}
	missing := s.newJob(s.newInstance("none"))
	s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateJob(missing, 0) }), fault.CodeFenced, "UpdateJob of none")
	s.code(s.tx(func(tx rooms.Tx) error { return tx.CheckClaim(claimOf(missing)) }), fault.CodeFenced, "CheckClaim of none")
}

// end writes the end of the job.
func (s shelf) end(j job.Job, state job.State) job.Job {
	s.Helper()
	j.State, j.FinishedAt, j.WakeAt = state, at, time.Time{}
	s.commit("end", func(tx rooms.Tx) error { return tx.UpdateJob(j, j.Fence) })
	return s.storedJob(j.ID)
}

func jobEnded(s shelf) {
	for _, state := range job.States() {
		if !state.Ended() {
			continue
		}
		before := s.job("ended-" + string(state))
		j := s.end(before, state)
		_, err := s.store.ActiveJob(s.ctx, id.Subject(j.Subject))
		s.code(err, fault.CodeNotFound, "ActiveJob")
		s.code(s.tx(func(tx rooms.Tx) error { return tx.UpdateJob(before, j.Fence) }), fault.CodeFenced, "UpdateJob")
		s.code(s.tx(func(tx rooms.Tx) error { return tx.CheckClaim(claimOf(j)) }), fault.CodeFenced, "CheckClaim")
		for _, seen := range []job.Job{before, j} {
			err := s.tx(func(tx rooms.Tx) error { return tx.RescheduleJob(seen, 2, at) })
			s.code(err, fault.CodeConflict, "RescheduleJob")
		}
		s.same(s.storedJob(j.ID), j, nil)
	}
}

func oneActiveJob(s shelf) {
	first := s.job("one")
	second := s.newJob(instance.Instance{ID: instance.ID(first.Subject), Tenant: owner, Spec: instance.Spec{Engine: "redis"}})
	insert := func(tx rooms.Tx) error { return tx.InsertJob(second) }
	s.code(s.tx(insert), fault.CodeBusy, "InsertJob while another one is queued")
	s.ok(s.claim(first, "me"), "claim")
	s.code(s.tx(insert), fault.CodeBusy, "InsertJob while another one runs")
	s.job("two")
	s.end(s.storedJob(first.ID), job.Failed)
	s.commit("InsertJob after the other one's end", insert)
	active, err := s.store.ActiveJob(s.ctx, id.Subject(first.Subject))
	if err != nil || active.ID != second.ID {
		s.Fatalf("the active job is %s, %v", active.ID, err)
	}
}

func activeJobRace(s shelf) {
	i := s.instance("wanted")
	s.oneWinner(testenv.Together(8, func(int) error {
		j := s.newJob(i)
		return s.tx(func(tx rooms.Tx) error { return tx.InsertJob(j) })
	}), fault.CodeBusy)
}

func claimRace(s shelf) {
	for round := range 3 {
		j := s.job(fmt.Sprintf("race-%d", round))
		errs := testenv.Together(8, func(n int) error { return s.claim(j, fmt.Sprint(n)) })
		s.oneWinner(errs, fault.CodeFenced)
		if got := s.storedJob(j.ID); got.Owner != fmt.Sprint(slices.Index(errs, nil)) || got.Fence != j.Fence+1 {
			s.Fatalf("%d has won, but it is %+v", slices.Index(errs, nil), got)
		}
	}
}

// claimHolds has the job claimed anew while a transaction that checked the old
// claim is still under way: the new claim comes behind it.
func claimHolds(s shelf) {
	j := s.job("held")
	claimed := make(chan error, 1)
	waits := true
	s.commit("CheckClaim", func(tx rooms.Tx) error {
		if err := tx.CheckClaim(claimOf(j)); err != nil {
			return err
		}
		go func() {
			claimed <- s.tx(func(tx rooms.Tx) error {
				mine := j
				mine.Fence++
				if err := tx.UpdateJob(mine, j.Fence); err != nil {
					return err
				}
				_, err := tx.Credentials(instance.ID(j.Subject))
				return err
			})
		}()
		select {
		case err := <-claimed:
			waits = false
			s.Errorf("the other one did not wait: %v", err)
		case <-time.After(100 * time.Millisecond): // long enough for one that does not wait
		}
		return tx.PutCredentials(instance.ID(j.Subject), secret.Sealed{KeyID: "k", Ciphertext: []byte("x")})
	})
	if waits {
		s.ok(<-claimed, "the new claim, which must see what the old one wrote")
	}
}

func reschedule(s shelf) {
	seen := s.job("later")
	wake := at.Add(time.Minute)
	for what, change := range map[string]func(*job.Job){
		"wake time":  func(j *job.Job) { j.WakeAt = j.WakeAt.Add(time.Millisecond) },
		"generation": func(j *job.Job) { j.Generation++ },
		"fence":      func(j *job.Job) { j.Fence++ },
		"id":         func(j *job.Job) { j.ID += "x" },
	} {
		other := seen
		change(&other)
		s.code(s.tx(func(tx rooms.Tx) error { return tx.RescheduleJob(other, 2, wake) }), fault.CodeConflict, "with another "+what)
	}
	s.same(s.storedJob(seen.ID), seen, nil)
	s.oneWinner(testenv.Together(4, func(int) error {
		return s.tx(func(tx rooms.Tx) error { return tx.RescheduleJob(seen, seen.Generation+1, wake) })
	}), fault.CodeConflict)
	now := s.storedJob(seen.ID)
	if !now.WakeAt.Equal(wake) || now.Generation != seen.Generation+1 || now.State != seen.State {
		s.Fatalf("it is %+v", now)
	}
	s.commit("with nothing changed", func(tx rooms.Tx) error { return tx.RescheduleJob(now, now.Generation, now.WakeAt) })
}

func dueJobs(s shelf) {
	due := func(name string, after time.Duration) id.Job {
		return s.job(name, func(j *job.Job) { j.WakeAt = at.Add(after) }).ID
	}
	third, first, second := due("third", 0), due("first", -time.Hour), due("second", -time.Millisecond)
	due("not-yet", time.Millisecond)
	s.end(s.storedJob(due("ended", -2*time.Hour)), job.Failed)
	for limit, want := range map[int][]id.Job{1: {first}, 2: {first, second}, 10: {first, second, third}} {
		list, err := s.store.DueJobs(s.ctx, at, limit)
		s.ok(err, "DueJobs")
		if got := ids(list, jobID); !slices.Equal(got, want) {
			s.Errorf("of %d: got %v, want %v", limit, got, want)
		}
	}
}

func jobFilters(s shelf) {
	a := s.job("a")
	b := s.end(s.job("b", func(j *job.Job) { j.Kind = instance.JobDelete }), job.Failed)
	c := s.job("c", func(j *job.Job) { j.Tenant = "other" })
	below := s.job("below", func(j *job.Job) { j.Tenant, j.Parent, j.ParentStep = "parents", a.ID, "step" })
	for _, test := range []struct {
		filter job.Filter
		want   []id.Job
	}{
		{job.Filter{Tenant: owner}, []id.Job{b.ID, a.ID}},
		{job.Filter{Tenant: "other"}, []id.Job{c.ID}},
		{job.Filter{Tenant: owner, Subject: a.Subject}, []id.Job{a.ID}},
		{job.Filter{Tenant: owner, Subject: c.Subject}, nil},
		{job.Filter{Tenant: owner, State: job.Failed}, []id.Job{b.ID}},
		{job.Filter{Tenant: "parents", Parent: a.ID}, []id.Job{below.ID}},
		{job.Filter{Tenant: "parents", Parent: b.ID}, nil},
		{job.Filter{Tenant: owner, Parent: a.ID}, nil},
		{job.Filter{Tenant: owner, Kind: instance.JobCreate}, []id.Job{a.ID}},
	} {
		list, err := s.store.Jobs(s.ctx, test.filter, page.Page{Limit: 10})
		s.ok(err, "Jobs")
		if got := ids(list, jobID); !slices.Equal(got, test.want) {
			s.Errorf("%+v: got %v, want %v", test.filter, got, test.want)
		}
	}
	list, err := s.store.Jobs(s.ctx, job.Filter{Tenant: owner}, page.Page{Before: string(b.ID), Limit: 10})
	if err != nil || !slices.Equal(ids(list, jobID), []id.Job{a.ID}) {
		s.Errorf("the second page: %v, %v", list, err)
	}
}

// jobsEnded asks which of many jobs are over.
func jobsEnded(s shelf) {
	missing := id.Job(s.newID(job.Prefix))
	var jobs, over []id.Job
	for n := range 5 {
		j := s.job(fmt.Sprintf("waits-%d", n))
		jobs = append(jobs, j.ID)
		if n%2 == 0 {
			j.State, j.FinishedAt, j.WakeAt = job.Failed, at, time.Time{}
			s.commit("end", func(tx rooms.Tx) error { return tx.UpdateJob(j, j.Fence) })
			over = append(over, j.ID)
		}
	}
	for _, asked := range [][]id.Job{jobs, jobs[:1], jobs[1:2], append(slices.Clone(jobs), missing, "job_ü")} {
		want := slices.DeleteFunc(slices.Clone(asked), func(id id.Job) bool { return slices.Contains(jobs, id) && !slices.Contains(over, id) })
		got, err := s.store.EndedJobs(s.ctx, asked)
		if err != nil || !slices.Equal(got, want) {
			s.Errorf("EndedJobs of %v: %v, %v, want %v", asked, got, err, want)
		}
	}
}

func jobTurns(s shelf) {
	begun := func(j *job.Job) { j.State, j.StartedAt = job.Running, at }
	first := s.job("a")
	second := s.job("b", func(j *job.Job) { j.Kind = instance.JobDelete })
	s.job("c", begun)
	s.job("d", func(j *job.Job) { j.StartedAt = at }) // its next attempt is to come
	s.end(s.job("e"), job.Failed)
	other := s.job("f", func(j *job.Job) { j.Tenant = "other" })
	got, err := s.store.Turns(s.ctx)
	s.ok(err, "Turns")
	slices.SortFunc(got, func(a, b job.Turn) int { return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Kind, b.Kind)) })
	want := []job.Turn{
		{Tenant: "other", Kind: instance.JobCreate, Waiting: 1},
		{Tenant: owner, Kind: instance.JobCreate, Waiting: 1, Running: 1}, {Tenant: owner, Kind: instance.JobDelete, Waiting: 1},
	}
	slices.SortFunc(want, func(a, b job.Turn) int { return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Kind, b.Kind)) })
	s.same(got, want, nil)
	for _, c := range []struct {
		of    tenant.ID
		limit int
		want  []id.Job
	}{{owner, 10, []id.Job{first.ID, second.ID}}, {owner, 1, []id.Job{first.ID}}, {"other", 10, []id.Job{other.ID}}, {"käse", 10, nil}} {
		list, err := s.store.WaitingJobs(s.ctx, c.of, c.limit)
		var ids []id.Job
		for _, j := range list {
			ids = append(ids, j.ID)
		}
		s.same(ids, c.want, err)
	}
}
