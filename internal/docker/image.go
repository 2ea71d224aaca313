package docker

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/image"

	"github.com/berth-project/berth/internal/provision"
)

// EnsureImage makes one of the references present on the host and says which.
func (r *Runtime) EnsureImage(ctx context.Context, references []string, progress func(string)) (string, error) {
	if len(references) == 0 {
		return "", provision.Errorf(provision.CodeInternal, nil, "no image is named")
	}
	for _, reference := range references {
		err := r.engine.imageThere(ctx, reference)
		if err == nil {
			return reference, nil
		}
		if !errors.Is(err, provision.ErrNotFound) {
			return "", err
		}
	}
	err := r.engine.pulls.pull(ctx, references[0], progress)
	if err == nil {
		// An engine may end the stream of a pull without an error and without an image.
		err = r.engine.imageThere(ctx, references[0])
	}
	switch {
	case err == nil:
		return references[0], nil
	case ctx.Err() != nil, provision.CodeOf(err) == provision.CodeHostUnavailable:
		return "", err
	default:
		return "", provision.Errorf(provision.CodeImageUnavailable, cause(err),
			"image %s is not on host %s and could not be pulled; run scripts/images.sh on the host, or set %s to an image that it has",
			strings.Join(references, " or "), r.engine.name, settingFor(references))
	}
}

// settingFor names the setting that chooses the image. Only where Berth's own
// stand-in is among the references is the image's name known to be the engine's.
func settingFor(references []string) string {
	for _, reference := range references {
		repository, _, _ := strings.Cut(reference, ":")
		if path.Dir(repository) == "berth" {
			return "BERTH_IMAGE_" + strings.ToUpper(path.Base(repository))
		}
	}
	return "the engine's BERTH_IMAGE_ setting"
}

// pulls are the pulls under way on one engine: each image once, however many wait.
type pulls struct {
	engine *engine
	limit  time.Duration
	stall  time.Duration
	done   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	flying map[string]*pull // by reference
}

// pull is one pull under way. It belongs to all who wait for it: it ends early
// only when the last of them has left.
type pull struct {
	cancel  context.CancelFunc
	ended   chan struct{}
	err     error // readable once ended is closed
	waiters int   // guarded by pulls.mu

	mu      sync.Mutex
	text    string
	changed chan struct{} // closed when text changes, and then replaced
}

func newPulls(e *engine, limit, stall time.Duration) *pulls {
	return &pulls{engine: e, limit: limit, stall: stall, flying: map[string]*pull{}}
}

// pull waits until the reference is pulled, and tells of the progress.
func (p *pulls) pull(ctx context.Context, reference string, progress func(string)) error {
	f, err := p.join(ctx, reference)
	if err != nil {
		return err
	}
	defer p.leave(reference, f)
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
			return fmt.Errorf("pull image %s: %w", reference, ctx.Err())
		}
	}
}

// join finds the pull of the reference, or begins it.
func (p *pulls) join(ctx context.Context, reference string) (*pull, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, provision.Errorf(provision.CodeHostUnavailable, nil, "host %s: Berth is shutting down", p.engine.name)
	}
	f, ok := p.flying[reference]
	if !ok {
		// Whoever asks first may leave first: the pull keeps nothing of its context but
		// the values.
		slow := provision.Errorf(provision.CodeImageUnavailable, nil, "pull image %s: not done in %s", reference, p.limit)
		detached, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), p.limit, slow)
		f = &pull{cancel: cancel, ended: make(chan struct{}), text: "pulling " + reference, changed: make(chan struct{})}
		p.flying[reference] = f
		p.done.Go(func() {
			defer cancel()
			f.err = p.run(detached, reference, f)
			p.forget(reference, f)
			close(f.ended)
		})
	}
	f.waiters++
	return f, nil
}

// leave cancels the pull when nobody waits for it any more. Who asks after that
// begins a new one.
func (p *pulls) leave(reference string, f *pull) {
	p.mu.Lock()
	f.waiters--
	last := f.waiters == 0
	p.mu.Unlock()
	if last {
		p.forget(reference, f)
		f.cancel()
	}
}

func (p *pulls) forget(reference string, f *pull) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flying[reference] == f {
		delete(p.flying, reference)
	}
}

func (p *pulls) close() {
	p.mu.Lock()
	p.closed = true
	for _, f := range p.flying {
		f.cancel()
	}
	p.mu.Unlock()
	p.done.Wait()
}

// run pulls. Registries that fall silent are given up: Docker itself would wait.
func (p *pulls) run(ctx context.Context, reference string, f *pull) error {
	if err := p.engine.negotiate(ctx); err != nil {
		return translate(p.engine.name, "pull image "+reference, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := provision.Errorf(provision.CodeImageUnavailable, nil, "pull image %s: no progress in %s", reference, p.stall)
	watch := time.AfterFunc(p.stall, func() { cancel(silent) })
	defer watch.Stop()

	stream, err := p.engine.api.ImagePull(ctx, reference, image.PullOptions{})
	if err == nil {
		defer func() { _ = stream.Close() }()
		err = readPull(stream, func(text string) {
			watch.Reset(p.stall)
			f.tell(text)
		})
	}
	var ours *provision.Error
	var refused *pullError
	switch {
	case err == nil:
		return nil
	case errors.As(context.Cause(ctx), &ours): // too silent or too slow
		return ours
	case errors.As(err, &refused):
		return refused
	default:
		return translate(p.engine.name, "pull image "+reference, err)
	}
}

func (f *pull) progress() (string, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text, f.changed
}

func (f *pull) tell(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if text == "" || text == f.text {
		return
	}
	f.text = text
	close(f.changed)
	f.changed = make(chan struct{})
}
