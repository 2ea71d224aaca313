package store

import (
	"context"
	"time"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/tenant"
)

// LiveJobs implements job.Tx. Both questions are answered from an index alone,
// and end with the limit.
func (t *tx) LiveJobs(tenant tenant.ID, limit int) (int, error) {
	live := t.db.Model(&jobRow{}).Select("live_instance_id").Where("live_instance_id > ''").Limit(limit)
	if tenant != "" {
		live = live.Where("tenant_id = ?", key(tenant))
	}
	var n int64
	err := t.db.Table("(?) AS live", live).Count(&n).Error
	return int(n), err
}

// KeptInstances implements instance.Reader.
func (r reader) KeptInstances(ctx context.Context, now time.Time, limit int) ([]instance.ID, error) {
	var list []instance.ID
	err := r.db.WithContext(ctx).Model(&instanceRow{}).Where("kept_until > 0 AND kept_until <= ? AND state = ?", millis(now), string(instance.StateFailed)).
		Order("kept_until").Limit(limit).Pluck("id", &list).Error
	return list, translate(err)
}
