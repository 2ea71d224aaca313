package hosttest

import (
	"context"
	"errors"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// Method names a method of host.Runtime.
type Method string

// The methods of host.Runtime.
const (
	MethodPing         Method = "Ping"
	MethodIdentity     Method = "Identity"
	MethodFacts        Method = "Facts"
	MethodEnsureImage  Method = "EnsureImage"
	MethodEnsureGolden Method = "EnsureGolden"
	MethodCreateVolume Method = "CreateVolume"
	MethodCreate       Method = "Create"
	MethodStart        Method = "Start"
	MethodAdopt        Method = "Adopt"
	MethodSettle       Method = "Settle"
	MethodInspect      Method = "Inspect"
	MethodSpace        Method = "Space"
	MethodStop         Method = "Stop"
	MethodRemove       Method = "Remove"
	MethodForget       Method = "Forget"
	MethodList         Method = "List"
	MethodWatch        Method = "Watch"
	MethodOutput       Method = "Output"
)

// Methods lists them, in the order of a life.
func Methods() []Method {
	return []Method{
		MethodPing, MethodIdentity, MethodFacts, MethodEnsureImage, MethodEnsureGolden, MethodCreateVolume, MethodCreate, MethodStart, MethodAdopt, MethodSettle, MethodInspect, MethodSpace,
		MethodStop, MethodRemove, MethodForget, MethodList, MethodWatch, MethodOutput,
	}
}

// ErrFault is the cause of every error that a Fault without an own error makes.
var ErrFault = errors.New("a fault that the test has switched on")

// Fault is what goes wrong with a method.
type Fault struct {
	// Before fails the call before it has any effect.
	Before bool
	// After fails the call after its effect: the answer is lost.
	After bool
	// Hang keeps the call, before any effect, until its context ends.
	Hang bool
	// Hold keeps the call, before any effect, until the channel is closed or its
	// context ends.
	Hold <-chan struct{}
	// Err is the error; nil: CodeHostUnavailable.
	Err error
	// Times is how many calls it hits; zero: all until Heal.
	Times int
}

// Fail switches a fault on for the method; it replaces the one before.
func (r *Runtime) Fail(m Method, f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[m] = &f
}

// Heal switches all faults off. Calls that hang go on hanging.
func (r *Runtime) Heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.faults)
}

// Calls counts the calls of a method, failed ones too.
func (r *Runtime) Calls(m Method) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[m]
}

// OnCall sets a function that is called at the start of every call, before any
// fault and any effect, with the instance where there is one.
func (r *Runtime) OnCall(f func(context.Context, Method, host.UnitID)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onCall = f
}

// call runs the effect of a method, with the faults that are switched on. The
// effect has the machine to itself.
func (r *Runtime) call(ctx context.Context, m Method, id host.UnitID, effect func() error) error {
	fault, err := r.enter(ctx, m, id)
	if err != nil {
		return err
	}
	r.machine.mu.Lock()
	err = effect()
	r.machine.mu.Unlock()
	if err == nil && fault.After {
		return fault.error()
	}
	return err
}

// enter is all that comes before the effect.
func (r *Runtime) enter(ctx context.Context, m Method, id host.UnitID) (Fault, error) {
	fault, hook := r.take(m)
	if hook != nil {
		hook(ctx, m, id)
	}
	if err := fault.wait(ctx); err != nil {
		return fault, err
	}
	if err := ctx.Err(); err != nil {
		return fault, err
	}
	if fault.Before {
		return fault, fault.error()
	}
	return fault, nil
}

// take counts the call and gives the fault that hits it.
func (r *Runtime) take(m Method) (Fault, func(context.Context, Method, host.UnitID)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[m]++
	f, ok := r.faults[m]
	if !ok {
		return Fault{}, r.onCall
	}
	hit := *f
	if f.Times > 0 {
		if f.Times--; f.Times == 0 {
			delete(r.faults, m)
		}
	}
	return hit, r.onCall
}

func (f Fault) wait(ctx context.Context) error {
	if f.Hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if f.Hold == nil {
		return nil
	}
	select {
	case <-f.Hold:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f Fault) error() error {
	if f.Err != nil {
		return f.Err
	}
	return fault.Errorf(fault.CodeHostUnavailable, ErrFault, "the host does not answer")
}
