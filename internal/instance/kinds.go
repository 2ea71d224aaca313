package instance

import (
	"context"
	"math"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/job"
)

// The kinds of jobs of an instance.
const (
	JobCreate job.Kind = "instance.create"
	JobDelete job.Kind = "instance.delete"
	JobRepair job.Kind = "instance.repair" // asked for by the reconciler
)

const (
	maxCreateAttempts = 4
	// maxFullAttempts is for a host whose ports are all taken or resting: long enough for
	// those that rest to be free again.
	maxFullAttempts = 10
)

// Register adds the kinds of jobs to the registry.
func (s *Works) Register(r *job.Registry) {
	r.RegisterSubject(Prefix, subject{s.cfg.Vault, s.cfg.Store})
	job.Register(r, job.Definition[*work]{
		Kind: JobCreate, Cancelable: true, Find: s.find,
		Pool: func(j job.Job) bell.Pool {
			if ofStock(j) {
				return bell.PoolUpkeep
			}
			return bell.PoolCreates
		},
		Attempts: func(code fault.Code) int { return attempts(code, maxCreateAttempts) },
		Plans:    [][]job.StepOf[*work]{createPlan(), adoptPlan()},
	})
	job.Register(r, job.Definition[*work]{
		Kind: JobDelete, Find: s.find, Pool: upkeep, Plans: [][]job.StepOf[*work]{deletePlan()},
		Attempts: func(code fault.Code) int { // it goes on until its deadline
			if code.Retryable() || code == fault.CodeHostRefused {
				return math.MaxInt
			}
			return 1
		},
	})
	job.Register(r, job.Definition[*work]{
		Kind: JobRepair, Find: s.find, Pool: upkeep, Plans: [][]job.StepOf[*work]{repairPlan()},
		Attempts: func(code fault.Code) int { return attempts(code, maxRepairAttempts) },
	})
	for kind, plans := range map[job.Kind][][]job.StepOf[*work]{JobRestart: restartPlans(), JobStop: stopPlans(), JobStart: {startPlan()}} {
		job.Register(r, job.Definition[*work]{
			Kind: kind, Find: s.find, Pool: upkeep, Plans: plans,
			Attempts: func(code fault.Code) int { return attempts(code, maxPowerAttempts) },
		})
	}
	job.Register(r, job.Definition[*work]{
		Kind: JobRenew, Find: s.find, Pool: upkeep, Plans: [][]job.StepOf[*work]{renewPlan()},
		Attempts: func(code fault.Code) int { return attempts(code, maxRenewAttempts) },
	})
}

// do makes a method a step's function.
func do(method func(*work, context.Context) error) func(context.Context, *work) error {
	return func(ctx context.Context, w *work) error { return method(w, ctx) }
}

func upkeep(job.Job) bell.Pool { return bell.PoolUpkeep }

// attempts returns how often a job is tried that fails so, most of the time.
func attempts(code fault.Code, usual int) int {
	switch {
	case !code.Retryable():
		return 1
	case code == fault.CodeHostUnavailable, code == fault.CodeUnavailable:
		return math.MaxInt // it is not the job's fault; its deadline limits the wait
	case code == fault.CodePortsExhausted && usual == maxCreateAttempts:
		return maxFullAttempts
	default:
		return usual
	}
}

// createPlan makes an instance anew.
func createPlan() []job.StepOf[*work] {
	return []job.StepOf[*work]{
		{Name: "reserve", Timeout: 30 * time.Second, Do: do((*work).reserve), Redo: job.RedoAlways},
		{Name: "image", Timeout: 10 * time.Minute, Do: do((*work).image), Beside: true},
		{Name: "data", Timeout: time.Minute, Do: do((*work).data), Beside: true},
		{Name: startName, Timeout: 2 * time.Minute, Do: do((*work).start), Redo: job.RedoAlways},
		{Name: "ready", Timeout: 2 * time.Minute, Do: do((*work).ready), Redo: job.RedoAlways},
	}
}

const (
	reserveStep = "reserve"
	startName   = "start" // of the step that starts a server
	// adoptStep is the first step of a create that was given a warm instance.
	adoptStep = "adopt"
)

// adoptPlan makes a warm instance the tenant's. The steps behind the first are for one that
// does not fit after all.
func adoptPlan() []job.StepOf[*work] {
	return append([]job.StepOf[*work]{{Name: adoptStep, Timeout: 30 * time.Second, Do: do((*work).adopt), Redo: job.RedoLast}}, createPlan()...)
}

func deletePlan() []job.StepOf[*work] {
	return []job.StepOf[*work]{
		{Name: "remove", Timeout: 2 * time.Minute, Do: do((*work).remove)},
		{Name: "data", Timeout: 2 * time.Minute, Do: do((*work).removeData)},
	}
}

// repairPlan brings an instance back on its data. That the data is there is asked first,
// because a server on an empty volume would be running, and a lie.
func repairPlan() []job.StepOf[*work] {
	return []job.StepOf[*work]{
		{Name: "data", Timeout: time.Minute, Do: do((*work).dataThere), Redo: job.RedoAlways},
		{Name: "image", Timeout: 10 * time.Minute, Do: do((*work).image)},
		{Name: startName, Timeout: 2 * time.Minute, Do: do((*work).start), Redo: job.RedoAlways},
		{Name: "ready", Timeout: 2 * time.Minute, Do: do((*work).ready), Redo: job.RedoAlways},
	}
}
