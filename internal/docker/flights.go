package docker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// flights are the long things under way on one engine, such as pulls: each once,
// however many of this process wait for it.
type flights struct {
	host string
	done sync.WaitGroup

	mu     sync.Mutex
	closed bool
	flying map[string]*flight // by what is done
}

// flight is one of them. It belongs to all who wait for it: it ends early only when
// the last of them has left.
type flight struct {
	cancel  context.CancelFunc
	ended   chan struct{}
	err     error // readable once ended is closed
	waiters int   // guarded by flights.mu

	mu      sync.Mutex
	text    string
	changed chan struct{} // closed when text changes, and then replaced
}

// act does what a flight is for, and tells of its progress.
type act func(ctx context.Context, tell func(string)) error

func newFlights(host string) *flights {
	return &flights{host: host, flying: map[string]*flight{}}
}

// join waits until it is done, and tells of the progress. It may take as long as the
// limit, and has the given cause when that is over.
func (p *flights) join(ctx context.Context, doing string, progress func(string), limit time.Duration, slow error, do act) error {
	f, err := p.board(ctx, doing, limit, slow, do)
	if err != nil {
		return err
	}
	defer p.leave(doing, f)
	told := ""
	for {
		text, changed := f.progress()
		if text != told && progress != nil {
			progress(text)
			told = text
		}
		select {
		case <-f.ended:
			return f.err
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", doing, ctx.Err())
		}
	}
}

// board finds the flight, or begins it.
func (p *flights) board(ctx context.Context, doing string, limit time.Duration, slow error, do act) (*flight, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fault.Errorf(fault.CodeHostUnavailable, nil, "host %s: Berth is shutting down", p.host)
	}
	f, ok := p.flying[doing]
	if !ok {
		// Whoever asks first may leave first: the flight keeps nothing of its context but
		// the values.
		detached, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), limit, slow)
		f = &flight{cancel: cancel, ended: make(chan struct{}), changed: make(chan struct{})}
		p.flying[doing] = f
		p.done.Go(func() {
			defer cancel()
			f.err = do(detached, f.tell)
			p.forget(doing, f)
			close(f.ended)
		})
	}
	f.waiters++
	return f, nil
}

// leave cancels the flight when nobody waits for it any more. Who asks after that
// begins a new one.
func (p *flights) leave(doing string, f *flight) {
	p.mu.Lock()
	f.waiters--
	last := f.waiters == 0
	p.mu.Unlock()
	if last {
		p.forget(doing, f)
		f.cancel()
	}
}

func (p *flights) forget(doing string, f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flying[doing] == f {
		delete(p.flying, doing)
	}
}

// behind does something that nobody waits for, within the limit.
func (p *flights) behind(ctx context.Context, limit time.Duration, do func(context.Context)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	f := &flight{cancel: cancel}
	doing := fmt.Sprintf("behind %p", f)
	p.flying[doing] = f
	p.done.Go(func() {
		defer cancel()
		do(detached)
		p.forget(doing, f)
	})
}

func (p *flights) close() {
	p.mu.Lock()
	p.closed = true
	for _, f := range p.flying {
		f.cancel()
	}
	p.mu.Unlock()
	p.done.Wait()
}

func (f *flight) progress() (string, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text, f.changed
}

func (f *flight) tell(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if text == "" || text == f.text {
		return
	}
	f.text = text
	close(f.changed)
	f.changed = make(chan struct{})
}
