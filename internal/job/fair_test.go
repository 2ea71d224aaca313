package job_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
)

// crowd has tenants order toys, and workers do the tasks in the order in which they came.
type crowd struct {
	*playroom
	mu   sync.Mutex
	toys int
}

func (c *crowd) orders(n int, of tenant.ID) {
	c.Helper()
	for range n {
		c.toys++
		which := id.Subject(fmt.Sprintf("toy_%d", c.toys))
		j, err := c.engine.New(makeToy, which, "", time.Hour)
		c.must(err)
		j.Tenant = of
		c.must(c.store.Tx(c.ctx, func(tx job.Tx) error {
			c.playroom.toys.put(tx, which, toy{state: "wanted"})
			return c.engine.Insert(tx, j)
		}))
	}
}

// work has so many workers do all tasks that there are; each job takes a second.
func (c *crowd) work(workers int) {
	c.Helper()
	tasks := c.queue.Take()
	var next int
	var all sync.WaitGroup
	for range workers {
		runner := job.NewRunner(job.RunnerConfig{Engine: c.engine, Store: c.store, Owner: "w", OnStep: func(_ job.Kind, step string, after bool) {
			if step == "make" && !after {
				<-time.After(time.Second)
			}
		}})
		all.Go(func() {
			for {
				c.mu.Lock()
				if next == len(tasks) {
					c.mu.Unlock()
					return
				}
				task := tasks[next]
				next++
				c.mu.Unlock()
				if err := runner.Run(c.ctx, id.Job(task.ID)); err != nil {
					c.Error(err)
				}
			}
		})
	}
	all.Wait()
	c.queue.Done()
}

// order returns whose jobs were begun, in their order.
func (c *crowd) order() []tenant.ID {
	c.Helper()
	var all []job.Job
	for _, of := range []tenant.ID{"greedy", "modest", "third"} {
		list, err := c.store.Jobs(c.ctx, job.Filter{Tenant: of}, pageOf(1000))
		c.must(err)
		all = append(all, list...)
	}
	slices.SortFunc(all, func(a, b job.Job) int { return a.StartedAt.Compare(b.StartedAt) })
	var order []tenant.ID
	for _, j := range all {
		if j.State != job.Succeeded {
			c.Errorf("job %s of %s is %s", j.ID, j.Tenant, j.State)
		}
		order = append(order, j.Tenant)
	}
	return order
}

// TestTurns: however many jobs of one tenant wait, another one's first begins with the next
// worker that is free, and its others take turns; every job is done, by as many tasks as jobs.
func TestTurns(t *testing.T) {
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			inPlayroom(t, func(p *playroom) {
				c := &crowd{playroom: p}
				c.orders(200, "greedy")
				<-time.After(time.Minute) // they wait
				c.orders(5, "modest")
				c.orders(1, "third")
				<-time.After(2 * time.Second)
				c.work(workers)
				order := c.order()
				first, last := -1, 0 // of those that are not greedy
				for i, of := range order {
					if of == "greedy" {
						continue
					}
					if last = i; first < 0 {
						first = i
					}
				}
				if first < 0 || first > workers || last > 2*6*workers {
					t.Errorf("the first of the others was number %d, the last number %d: %v", first, last, order[:40])
				}
			})
		})
	}
}

// TestNoTurns: where nothing has to wait, each worker does the job that it was woken for.
func TestNoTurns(t *testing.T) {
	inPlayroom(t, func(p *playroom) {
		c := &crowd{playroom: p}
		c.orders(3, "greedy")
		c.orders(1, "modest")
		tasks := c.queue.Take()
		runner := p.worker("", false)
		for i := len(tasks) - 1; i >= 0; i-- {
			p.must(runner.Run(p.ctx, id.Job(tasks[i].ID)))
			if j := p.job(id.Job(tasks[i].ID)); j.State != job.Succeeded {
				t.Errorf("%s is %s", j.ID, j.State)
			}
		}
		p.queue.Done()
	})
}

// TestTurnAfterRetry: a job that was begun goes on with its own task, whoever waits.
func TestTurnAfterRetry(t *testing.T) {
	inPlayroom(t, func(p *playroom) {
		fails := 1
		p.fail = func(step string) error {
			if step != "check" || fails == 0 {
				return nil
			}
			fails--
			return errBusyToy
		}
		first := p.order(makeToy, "toy_first", time.Hour)
		runner := p.worker("", false)
		p.must(runner.Run(p.ctx, first))
		c := &crowd{playroom: p}
		c.orders(5, "modest")
		<-time.After(time.Minute)
		p.must(runner.Run(p.ctx, first))
		if j := p.job(first); j.State != job.Succeeded {
			t.Errorf("it is %s", j.State)
		}
	})
}

var errBusyToy = fault.Errorf(fault.CodeTimeout, nil, "on purpose")

func pageOf(n int) page.Page { return page.Page{Limit: n} }
