package store

import (
	"context"
	"slices"

	"github.com/berth-project/berth/internal/id"
)

// EndedJobs implements job.Store.
func (r reader) EndedJobs(ctx context.Context, ids []id.Job) ([]id.Job, error) {
	var live []id.Job
	err := r.db.WithContext(ctx).Model(&jobRow{}).Where("id IN ? AND live_instance_id > ''", padded(ids)).Pluck("id", &live).Error
	if err != nil {
		return nil, translate(err)
	}
	alive := make(map[id.Job]bool, len(live))
	for _, id := range live {
		alive[id] = true
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id id.Job) bool { return alive[id] }), nil
}

// padded repeats an id until there is a power of two of them: statements are kept
// prepared, and there are to be a few of them, not one for each length.
func padded(ids []id.Job) []string {
	out := make([]string, 0, 2*len(ids))
	for _, id := range ids {
		out = append(out, key(id))
	}
	for len(out)&(len(out)-1) != 0 {
		out = append(out, out[0])
	}
	return out
}
