package job

import (
	"context"
	"errors"
	"sync"
)

// errBeside ends the steps that run beside one that failed.
var errBeside = errors.New("a parallel step failed")

// beside returns how many steps from the first on run in parallel.
func beside(plan []step) int {
	n := 1
	for n < len(plan) && plan[n].beside {
		n++
	}
	return n
}

// runSteps runs what is not done of steps that run in parallel, the first of which is the
// job's at the index. It returns when all have ended; where one fails, the
// others are ended and wait to be run again.
func (r *Run) runSteps(ctx context.Context, first int, steps []step) error {
	job := r.Job()
	var todo []int
	for i := range steps {
		if job.Steps[first+i].State != StepDone {
			todo = append(todo, i)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	for _, i := range todo {
		r.begin(first + i)
	}
	if err := r.Save(ctx, nil); err != nil {
		return err
	}
	if len(todo) == 1 {
		return r.runStep(ctx, first+todo[0], steps[todo[0]])
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	failed := failures{end: end}
	var all sync.WaitGroup
	for _, i := range todo {
		all.Go(func() {
			failed.note(func() error { return r.runStep(ctx, first+i, steps[i]) })
		})
	}
	all.Wait()
	return failed.first()
}

// failures keeps the first failure of several steps, which ends the others.
type failures struct {
	end context.CancelCauseFunc

	mu       sync.Mutex
	err      error
	panicked any
}

// note runs a step. A panic is kept for who waits for all of them, and who would have
// had it if there had been only one.
func (f *failures) note(run func() error) {
	defer func() {
		if p := recover(); p != nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.panicked = p
			f.end(errBeside)
		}
	}()
	err := run()
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	f.end(errBeside)
}

func (f *failures) first() error {
	if f.panicked != nil {
		panic(f.panicked)
	}
	return f.err
}
