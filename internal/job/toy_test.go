package job_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/tenant/tenanttest"
)

var toySteps = []string{"make", "paint", "check"}

// TestToyOutlivesItsWorker has a worker die before and after every step.
func TestToyOutlivesItsWorker(t *testing.T) {
	for _, step := range toySteps {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after=%v", step, after), func(t *testing.T) {
				inPlayroom(t, func(p *playroom) {
					j := p.spin(p.order(makeToy, "toy_1", time.Hour), p.worker(step, after))
					if j.State != job.Succeeded || j.Crashes != 1 {
						p.Errorf("it is %s after %d crashes: %+v", j.State, j.Crashes, j.Error)
					}
					p.consistent(j)
				})
			})
		}
	}
}

// TestToyFails has every step fail: once, which is retried, and for good, which is rolled
// back.
func TestToyFails(t *testing.T) {
	for _, step := range toySteps {
		for name, c := range map[string]struct {
			code  fault.Code
			times int
			want  job.State
		}{
			"once":            {fault.CodeProbeFailed, 1, job.Succeeded},
			"again and again": {fault.CodeProbeFailed, 100, job.Failed},
			"for good":        {fault.CodeInvalid, 1, job.Failed},
		} {
			t.Run(step+" "+name, func(t *testing.T) {
				inPlayroom(t, func(p *playroom) {
					left := c.times
					p.fail = func(s string) error {
						if s != step || left == 0 {
							return nil
						}
						left--
						return fault.Errorf(c.code, nil, "%s on purpose", s)
					}
					j := p.spin(p.order(makeToy, "toy_1", time.Hour), nil)
					if j.State != c.want || j.State == job.Failed && (j.Error.Step != step || j.Error.Code != c.code) {
						p.Errorf("it is %s: %+v", j.State, j.Error)
					}
					p.consistent(j)
				})
			})
		}
	}
}

// TestToyIsStopped cancels a job, lets its time run out, and cuts it off, while a step of it
// fails all the time.
func TestToyIsStopped(t *testing.T) {
	for _, step := range toySteps {
		for name, c := range map[string]struct {
			stop func(*playroom, id.Job)
			code fault.Code
		}{
			"canceled": {func(p *playroom, j id.Job) {
				_, err := p.jobs.CancelJob(p.ctx, tenanttest.Owner(tenant.Default), j)
				p.must(err)
			}, fault.CodeCanceled},
			"deadline": {func(*playroom, id.Job) { <-time.After(time.Minute) }, fault.CodeDeadline},
		} {
			t.Run(step+" "+name, func(t *testing.T) {
				inPlayroom(t, func(p *playroom) {
					p.fail = func(s string) error {
						if s == step {
							return fault.Errorf(fault.CodeTimeout, nil, "on purpose")
						}
						return nil
					}
					theJob := p.order(makeToy, "toy_1", time.Minute)
					p.must(p.worker("", false).Run(p.ctx, theJob))
					c.stop(p, theJob)
					j := p.spin(theJob, nil)
					if !j.State.Ended() || j.Error.Code != c.code {
						p.Errorf("it is %s: %+v", j.State, j.Error)
					}
					p.consistent(j)
				})
			})
		}
	}
}

// TestChildJobs has a job start others and wait for them without a worker.
func TestChildJobs(t *testing.T) {
	inPlayroom(t, func(p *playroom) {
		set := p.order(makeSet, "toy_set", time.Hour)
		p.must(p.worker("", false).Run(p.ctx, set))
		waits := p.job(set)
		if waits.State != job.Queued || waits.Owner != "" || waits.Attempt != 0 || waits.Steps[1].State != job.StepWaiting {
			p.Fatalf("while it waits for its children it is %+v", waits)
		}
		if c := p.children(set); len(c) != 2 || c[0].Parent != set || c[0].Tenant != tenant.Default {
			p.Fatalf("its children are %+v", c)
		}
		begun := time.Now()
		j := p.spin(set, nil)
		if j.State != job.Succeeded || j.Attempt != 0 {
			p.Errorf("it is %s after %d failures: %+v", j.State, j.Attempt, j.Error)
		}
		if took := time.Since(begun); took > 3*time.Second {
			p.Errorf("it noticed the end of its children after %s", took)
		}
		p.consistent(j)
		for _, c := range p.children(set) {
			p.consistent(c)
		}
	})
}

// TestChildJobsStartOnce has the worker die around the step that starts them.
func TestChildJobsStartOnce(t *testing.T) {
	for _, after := range []bool{false, true} {
		inPlayroom(t, func(p *playroom) {
			set := p.order(makeSet, "toy_set", time.Hour)
			j := p.spin(set, p.worker("parts", after))
			if c := p.children(set); j.State != job.Succeeded || len(c) != 2 {
				p.Errorf("it is %s with %d children", j.State, len(c))
			}
			p.consistent(j)
		})
	}
}

// TestParentEndsItsChildren has a parent stopped in every way while its children fail, or
// one of the children fail for good.
func TestParentEndsItsChildren(t *testing.T) {
	for name, c := range map[string]struct {
		code fault.Code // of the children's failures
		stop func(*playroom, id.Job)
		want job.State
	}{
		"canceled": {fault.CodeHostUnavailable, func(p *playroom, j id.Job) {
			_, err := p.jobs.CancelJob(p.ctx, tenanttest.Owner(tenant.Default), j)
			p.must(err)
		}, job.Canceled},
		"deadline":       {fault.CodeHostUnavailable, func(*playroom, id.Job) { <-time.After(time.Minute) }, job.Failed},
		"a child failed": {fault.CodeInvalid, func(*playroom, id.Job) {}, job.Failed},
		"cut off": {fault.CodeHostUnavailable, func(p *playroom, j id.Job) {
			p.must(p.store.Tx(p.ctx, func(tx job.Tx) error {
				row, err := tx.Job(j)
				if err != nil {
					return err
				}
				return p.engine.CutOff(tx, row, "it is to be deleted")
			}))
			p.must(p.shelf.remove("toy_set", 1<<40)) // which is the delete's to do
			p.toys.rows["toy_set"] = toy{state: "broken"}
		}, job.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			inPlayroom(t, func(p *playroom) {
				p.fail = func(step string) error {
					if step == "check" {
						return fault.Errorf(c.code, nil, "on purpose")
					}
					return nil
				}
				set := p.order(makeSet, "toy_set", time.Minute)
				p.must(p.worker("", false).Run(p.ctx, set))
				for _, child := range p.children(set) {
					p.must(p.worker("", false).Run(p.ctx, child.ID))
				}
				c.stop(p, set)
				j := p.spin(set, nil)
				if j.State != c.want {
					p.Errorf("it is %s: %+v", j.State, j.Error)
				}
				p.consistent(j)
				for _, child := range p.children(set) {
					child = p.spin(child.ID, nil)
					if child.State == job.Succeeded || child.Deadline.After(j.Deadline) || j.State == job.Canceled && child.Error.Code != fault.CodeCanceled {
						p.Errorf("a child is %s, with the deadline %s: %+v", child.State, child.Deadline, child.Error)
					}
					if name != "cut off" && p.ended(child.ID) > p.ended(set) {
						p.Error("a child ended after its parent was rolled back")
					}
					p.consistent(child)
				}
			})
		})
	}
}

// TestUnknownKind leaves a job to the workers of a release that knows it.
func TestUnknownKind(t *testing.T) {
	inPlayroom(t, func(p *playroom) {
		theJob := p.order(makeToy, "toy_1", time.Hour)
		p.queue.Take()
		kinds := p.engine.Kinds
		p.engine.Kinds = &job.Registry{}
		if err := p.worker("", false).Run(p.ctx, theJob); err == nil {
			p.Error("it was run")
		}
		if j := p.job(theJob); j.State != job.Queued || j.Fence != 0 {
			p.Errorf("it is %+v", j)
		}
		<-time.After(3 * time.Second)
		before := p.job(theJob).WakeAt
		_, err := p.relay.RunOnce(p.ctx)
		p.must(err)
		if j := p.job(theJob); !j.WakeAt.After(before) || len(p.queue.Take()) > 0 {
			p.Errorf("the relay leaves it in the way of others: %+v", j)
		}
		if _, err := p.engine.New(makeToy, "toy_2", "", time.Hour); err == nil {
			p.Error("it was made")
		}
		p.engine.Kinds = kinds
		p.consistent(p.spin(theJob, nil))
	})
}
