package docker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/image"

	"github.com/berth-project/berth/internal/fault"
)

// goldenLeftover is the age from which on what a making has left behind is removed: a
// container, or an image without a name.
const goldenLeftover = 10 * time.Minute

// askedSuffix makes the second name of a golden image, which marks when it was asked for:
// the engine remembers when an image got its last name, but not each renews that when it
// gives a name again that the image has.
const askedSuffix = "-asked"

// tidyGoldens marks the image as asked for, and removes what nobody has asked for in a while. That may be another
// version of Berth's, of another deployment on the host, so time decides and not the
// wish of whoever looks. What a container uses the engine does not remove.
func (r *Runtime) tidyGoldens(ctx context.Context, s goldenSpec) {
	err := r.mark(ctx, s.Image)
	if err == nil {
		err = errors.Join(r.removeIdleGoldens(ctx, s.Key), r.removeLeftMakings(ctx))
	}
	if err != nil && ctx.Err() == nil {
		r.log.WarnContext(ctx, "unused golden data could not be removed; retrying later", "error", err)
	}
}

// mark has the engine remember that the image was asked for now.
func (r *Runtime) mark(ctx context.Context, reference string) error {
	if err := r.engine.removeImage(ctx, reference+askedSuffix); err != nil && !errors.Is(err, fault.ErrNotFound) && !errors.Is(err, fault.ErrConflict) {
		return err
	}
	return r.engine.tag(ctx, reference, reference+askedSuffix)
}

func (r *Runtime) removeIdleGoldens(ctx context.Context, current string) error {
	images, err := r.engine.listImages(ctx, labelGolden)
	if err != nil {
		return err
	}
	for _, i := range images {
		if err := r.removeIfIdle(ctx, i, current); err != nil {
			return err
		}
	}
	return nil
}

// removeIfIdle removes the image if it is ours and nobody has asked for it in a while.
func (r *Runtime) removeIfIdle(ctx context.Context, i image.Summary, current string) error {
	// Whoever builds an image upon a golden one gets its labels, too: only what has our
	// name, or none, is ours.
	name, foreign := ourName(i.RepoTags)
	if foreign || i.Labels[labelGolden] == current && name != "" {
		return nil
	}
	full, err := r.engine.inspectImage(ctx, i.ID)
	if err != nil {
		return forgive(err, fault.ErrNotFound)
	}
	asked, limit := full.Metadata.LastTagTime, r.engine.golden.idle
	if name == "" {
		asked, limit = time.Unix(i.Created, 0), goldenLeftover
	}
	if time.Since(asked) < limit {
		return nil
	}
	// One that has several names is removed by each of them, its own last.
	for _, reference := range append(without(i.RepoTags, name), cmp.Or(name, i.ID)) {
		if err := r.engine.removeImage(ctx, reference); err != nil {
			return forgive(forgive(err, fault.ErrConflict), fault.ErrNotFound)
		}
	}
	r.log.InfoContext(ctx, "removed unused golden data", "image", name, "id", i.ID)
	return nil
}

// without gives the names other than the one, and none that is no name.
func without(tags []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return tag == name || !isOurs(tag) })
}

func isOurs(tag string) bool { return strings.HasPrefix(tag, goldenRepository+":") }

// ourName gives the name of a golden image, its own rather than the mark that it was asked
// for; "" where it has none. One with a name that is not ours is foreign.
func ourName(tags []string) (name string, foreign bool) {
	for _, tag := range tags {
		switch {
		case isOurs(tag):
			if name == "" || strings.HasSuffix(name, askedSuffix) {
				name = tag
			}
		case tag != "<none>:<none>":
			return "", true
		}
	}
	return name, false
}

// removeLeftMakings removes containers whose maker has vanished and whose result
// nobody wants any more, or that were not needed in the end.
func (r *Runtime) removeLeftMakings(ctx context.Context) error {
	containers, err := r.engine.listContainers(ctx, labelGolden)
	if err != nil {
		return err
	}
	for _, c := range containers {
		key := c.Labels[labelGolden]
		if len(c.Names) != 1 || c.Names[0] != "/"+goldenPrefix+key || time.Since(time.Unix(c.Created, 0)) < goldenLeftover {
			continue
		}
		if err := r.removeContainer(ctx, c.ID); err != nil {
			return err
		}
	}
	return nil
}

// Forget removes all golden images that no container uses. A deployment beside this one that
// wants one makes it again.
func (r *Runtime) Forget(ctx context.Context) error {
	units, err := r.List(ctx)
	if err != nil {
		return err
	}
	if len(units) > 0 {
		return fault.Errorf(fault.CodeHostInUse, nil, "host %s still has %d instances", r.engine.name, len(units))
	}
	images, err := r.engine.listImages(ctx, labelGolden)
	if err != nil {
		return err
	}
	for _, i := range images {
		name, foreign := ourName(i.RepoTags)
		if foreign {
			continue
		}
		for _, reference := range append(without(i.RepoTags, name), cmp.Or(name, i.ID)) {
			if err := r.engine.removeImage(ctx, reference); forgive(forgive(err, fault.ErrConflict), fault.ErrNotFound) != nil {
				return err
			}
		}
	}
	return nil
}
