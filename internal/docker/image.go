package docker

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"github.com/docker/docker/api/types/image"

	"github.com/berth-project/berth/internal/fault"
)

// EnsureImage makes one of the references present on the host and says which.
func (r *Runtime) EnsureImage(ctx context.Context, references []string, progress func(string)) (string, error) {
	if len(references) == 0 {
		return "", fault.Errorf(fault.CodeInternal, nil, "no image is named")
	}
	for _, reference := range references {
		err := r.engine.imageThere(ctx, reference)
		if err == nil {
			return reference, nil
		}
		if !errors.Is(err, fault.ErrNotFound) {
			return "", err
		}
	}
	err := r.engine.pull(ctx, references[0], progress)
	if err == nil {
		// An engine may end the stream of a pull without an error and without an image.
		err = r.engine.imageThere(ctx, references[0])
	}
	switch {
	case err == nil:
		return references[0], nil
	case ctx.Err() != nil, fault.CodeOf(err) == fault.CodeHostUnavailable:
		return "", err
	default:
		return "", fault.Errorf(fault.CodeImageUnavailable, cause(err),
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

// pull waits until the reference is pulled, once however many ask.
func (e *engine) pull(ctx context.Context, reference string, progress func(string)) error {
	slow := fault.Errorf(fault.CodeImageUnavailable, nil, "pull image %s: not finished within %s", reference, e.pullLimit)
	return e.flights.join(ctx, "pull image "+reference, progress, e.pullLimit, slow, func(ctx context.Context, tell func(string)) error {
		tell("pulling " + reference)
		return e.pullOnce(ctx, reference, tell)
	})
}

// pullOnce pulls. Registries that fall silent are given up: Docker itself would wait.
func (e *engine) pullOnce(ctx context.Context, reference string, tell func(string)) error {
	if err := e.negotiate(ctx); err != nil {
		return translate(e.name, "pull image "+reference, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := fault.Errorf(fault.CodeImageUnavailable, nil, "pull image %s: no progress for %s", reference, e.pullStall)
	watch := time.AfterFunc(e.pullStall, func() { cancel(silent) })
	defer watch.Stop()

	stream, err := e.api.ImagePull(ctx, reference, image.PullOptions{})
	if err == nil {
		defer func() { _ = stream.Close() }()
		err = readPull(stream, func(text string) {
			watch.Reset(e.pullStall)
			tell(text)
		})
	}
	var ours *fault.Error
	var refused *pullError
	switch {
	case err == nil:
		return nil
	case errors.As(context.Cause(ctx), &ours): // too silent or too slow
		return ours
	case errors.As(err, &refused):
		return refused
	default:
		return translate(e.name, "pull image "+reference, err)
	}
}
