package instance_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
)

// reach gives the states that can be reached from one.
func reach[S comparable](from S, all []S, can func(S, S) bool) []S {
	seen := []S{from}
	for i := 0; i < len(seen); i++ {
		for _, next := range all {
			if can(seen[i], next) && !slices.Contains(seen, next) {
				seen = append(seen, next)
			}
		}
	}
	return seen
}

func TestInstanceTable(t *testing.T) {
	all := instance.States()
	can := instance.State.CanBecome
	if got := reach(instance.StatePending, all, can); len(got) != len(all) {
		t.Errorf("only %v can be reached", got)
	}
	for _, s := range all {
		if s != instance.StateDeleted && !slices.Contains(reach(s, all, can), instance.StateDeleted) {
			t.Errorf("nothing leads from %s to deleted", s)
		}
		if can(instance.StateDeleted, s) {
			t.Errorf("deleted can become %s", s)
		}
		if can(s, s) {
			t.Errorf("%s can become itself", s)
		}
		if can(s, "nonsense") || instance.State("nonsense").CanBecome(s) {
			t.Errorf("%s has to do with a state that there is not", s)
		}
		if s != instance.StateDeleted && s != instance.StateDeleting && !can(s, instance.StateDeleting) {
			t.Errorf("delete does not win over %s", s)
		}
	}
}

func TestInstanceWalks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.UnixMilli(0).UTC()
		inst := instance.Instance{ID: "ins_1", State: instance.StatePending, UpdatedAt: now}
		for _, next := range rapid.SliceOf(rapid.SampledFrom(instance.States())).Draw(t, "walk") {
			now = now.Add(time.Second)
			before := inst
			allowed := before.State.CanBecome(next)
			err := inst.Move(next, "why", now)
			switch {
			case allowed != (err == nil):
				t.Fatalf("%s to %s: allowed %v, error %v", before.State, next, allowed, err)
			case err != nil && (fault.CodeOf(err) != fault.CodeInternal || inst.State != before.State || inst.UpdatedAt != before.UpdatedAt):
				t.Fatalf("a refused move changed %+v to %+v (%v)", before, inst, err)
			case err == nil && (inst.State != next || inst.Reason != "why" || inst.UpdatedAt != now):
				t.Fatalf("moved to %+v", inst)
			case (inst.State == instance.StateDeleted) == inst.DeletedAt.IsZero():
				t.Fatalf("%s, deleted at %v", inst.State, inst.DeletedAt)
			}
		}
	})
}

func TestJobTable(t *testing.T) {
	all := job.States()
	can := job.State.CanBecome
	if got := reach(job.Queued, all, can); len(got) != len(all) {
		t.Errorf("only %v can be reached", got)
	}
	for _, s := range all {
		if s.Ended() != (len(reach(s, all, can)) == 1) {
			t.Errorf("%s: ended %v, leads to %v", s, s.Ended(), reach(s, all, can))
		}
		if !s.Ended() && !slices.ContainsFunc(reach(s, all, can), job.State.Ended) {
			t.Errorf("%s never ends", s)
		}
	}
	if can(job.Queued, job.Succeeded) {
		t.Error("a job can succeed without a worker")
	}
}

func TestJobWalks(t *testing.T) {
	steps := []job.StepState{job.StepWaiting, job.StepRunning, job.StepDone, job.StepFailed, job.StepUndone}
	rapid.Check(t, func(t *rapid.T) {
		now := time.UnixMilli(0).UTC()
		j := job.Job{
			ID: "job_1", State: job.Queued, Owner: "w", WakeAt: now, LeaseUntil: now,
			Steps: []job.Step{{State: rapid.SampledFrom(steps).Draw(t, "step 1")}, {State: rapid.SampledFrom(steps).Draw(t, "step 2")}},
		}
		for _, next := range rapid.SliceOf(rapid.SampledFrom(job.States())).Draw(t, "walk") {
			now = now.Add(time.Second)
			before := j
			allowed := before.State.CanBecome(next)
			err := j.Move(next, now)
			if allowed != (err == nil) {
				t.Fatalf("%s to %s: allowed %v, error %v", before.State, next, allowed, err)
			}
			if before.State.Ended() && (err == nil || j.State != before.State || j.FinishedAt != before.FinishedAt) {
				t.Fatalf("an ended job moved from %+v to %+v", before, j)
			}
			ended := j.State.Ended()
			if ended == j.FinishedAt.IsZero() || ended != j.WakeAt.IsZero() || ended && (j.Owner != "" || !j.LeaseUntil.IsZero()) {
				t.Fatalf("%+v", j)
			}
			if p := j.Progress(); p < 0 || p > 100 || j.State == job.Succeeded && p != 100 {
				t.Fatalf("progress %d of a job that is %s", p, j.State)
			}
			for _, s := range j.Steps {
				if ended && s.State == job.StepRunning {
					t.Fatal("a job that has ended has a step that runs")
				}
			}
		}
	})
}

// What ParseBytes takes it gives back the same, however it is written.
func TestParseBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ ]?[0-9]{1,20} ?([kKmMgG]?[bB]?|[a-z]{1,3})`).Draw(t, "text")
		n, ok := instance.ParseBytes(text)
		if n < 0 || !ok && n != 0 {
			t.Fatalf("%q is %d, %v", text, n, ok)
		}
	})
	for text, want := range map[string]int64{"64mb": 64 << 20, "64M": 64 << 20, "1 gb": 1 << 30, "0": 0, "5B": 5, " 7k ": 7 << 10} {
		if n, ok := instance.ParseBytes(text); !ok || n != want {
			t.Errorf("%q is %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{"", "mb", "-1", "1.5g", "64 zb", "9999999999999999999", "9007199254740993gb", "1m2", "0x10", "1e3"} {
		if n, ok := instance.ParseBytes(text); ok {
			t.Errorf("%q is %d", text, n)
		}
	}
}
