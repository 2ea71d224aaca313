package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// reader implements rooms.Reader on a pool or within a transaction.
type reader struct{ db *gorm.DB }

// one gives the first row of a query, or CodeNotFound.
func one[R any](q *gorm.DB) (R, error) {
	var row R
	return row, translate(q.Take(&row).Error)
}

// key gives an id as it can be compared with a column of ids. MySQL refuses to compare
// those with what is not ASCII; no row has an empty id, so nothing is found, as on SQLite.
func key[ID ~string](id ID) string {
	for _, c := range []byte(id) {
		if c == 0 || c > unicode.MaxASCII {
			return ""
		}
	}
	return string(id)
}

// legible reports whether all the texts are UTF-8, as everything in the database
// is. MySQL refuses to compare it with anything else.
func legible(texts ...string) bool {
	return !slices.ContainsFunc(texts, func(s string) bool { return !utf8.ValidString(s) })
}

// entities turns rows into the domain's types.
func entities[R, E any](rows []R, turn func(R) (E, error)) ([]E, error) {
	out := make([]E, 0, len(rows))
	for _, row := range rows {
		e, err := turn(row)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// Instance implements instance.Reader.
func (r reader) Instance(ctx context.Context, id instance.ID) (instance.Instance, error) {
	row, err := one[instanceRow](r.db.WithContext(ctx).Where("id = ?", key(id)))
	if err != nil {
		return instance.Instance{}, err
	}
	return row.entity()
}

// Instances implements instance.Reader.
func (r reader) Instances(ctx context.Context, f instance.Filter, page page.Page) ([]instance.Instance, error) {
	if !legible(f.Engine, string(f.State), f.Name) || !legible(slices.Collect(maps.Keys(f.Labels))...) || !legible(slices.Collect(maps.Values(f.Labels))...) {
		return nil, nil
	}
	q := r.db.WithContext(ctx).Where("tenant_id = ?", key(f.Tenant))
	if len(f.Engines) > 0 {
		q = q.Where("engine IN ?", f.Engines)
	}
	switch {
	case f.State != "":
		q = q.Where("state = ?", string(f.State))
	case !f.Deleted:
		q = q.Where("deleted_at = 0")
	}
	if f.Engine != "" {
		q = q.Where("engine = ?", f.Engine)
	}
	switch {
	case f.Name == "":
	case f.Deleted || f.State == instance.StateDeleted:
		q = q.Where("name = ?", f.Name)
	default:
		q = q.Where("live_name = ?", f.Name)
	}
	order := "id"
	if len(f.Labels) > 0 {
		q, order = labeled(q, f)
	}
	var rows []instanceRow
	if err := keysetBy(q, page, order).Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, instanceRow.entity)
}

// labeled narrows a query to instances with the labels. A name is one instance, whose
// labels are looked at. Otherwise the index of the first label leads, which has its
// instances in the order of a page, so that neither a label that all have nor one that
// hardly any has costs more than its page. It gives the column that the page goes by.
func labeled(q *gorm.DB, f instance.Filter) (narrowed *gorm.DB, order string) {
	lead, order := f.Name == "", "id"
	for _, name := range slices.Sorted(maps.Keys(f.Labels)) {
		if lead {
			lead, order = false, "l.instance_id"
			inOrder := " CROSS JOIN " // which SQLite does not turn round
			if q.Name() == dialectMySQL {
				inOrder = " STRAIGHT_JOIN "
			}
			q = q.Model(&instanceRow{}).Table("instance_labels AS l"+inOrder+"instances").Select("instances.*").
				Where("l.instance_id = instances.id AND l.name = ? AND l.value = ?", name, f.Labels[name])
			continue
		}
		q = q.Where("EXISTS (SELECT 1 FROM instance_labels AS m WHERE m.instance_id = instances.id AND m.name = ? AND m.value = ?)", name, f.Labels[name])
	}
	return q, order
}

func keyset(q *gorm.DB, page page.Page) *gorm.DB { return keysetBy(q, page, "id") }

func keysetBy(q *gorm.DB, page page.Page, column string) *gorm.DB {
	if page.Before != "" {
		q = q.Where(column+" < ?", key(page.Before))
	}
	return q.Order(column + " DESC").Limit(page.Limit)
}

// Job implements job.Store.
func (r reader) Job(ctx context.Context, id id.Job) (job.Job, error) {
	return oneJob(r.db.WithContext(ctx).Where("id = ?", key(id)))
}

func oneJob(q *gorm.DB) (job.Job, error) {
	row, err := one[jobRow](q)
	if err != nil {
		return job.Job{}, err
	}
	return row.entity()
}

// Jobs implements job.Store.
func (r reader) Jobs(ctx context.Context, f job.Filter, page page.Page) ([]job.Job, error) {
	q := r.db.WithContext(ctx).Where("tenant_id = ?", key(f.Tenant))
	if f.Subject != "" {
		q = q.Where("instance_id = ?", key(f.Subject))
	}
	if f.Parent != "" {
		q = q.Where("parent_id = ?", key(f.Parent))
	}
	if f.State != "" {
		q = q.Where("state = ?", string(f.State))
	}
	if f.Kind != "" {
		q = q.Where("kind = ?", string(f.Kind))
	}
	var rows []jobRow
	if err := keyset(q, page).Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, jobRow.entity)
}

// ActiveJob implements job.Store.
func (r reader) ActiveJob(ctx context.Context, subject id.Subject) (job.Job, error) {
	return oneJob(r.db.WithContext(ctx).Where("live_instance_id = ?", key(subject)))
}

// Credentials implements instance.Reader.
func (r reader) Credentials(ctx context.Context, id instance.ID) (secret.Sealed, error) {
	row, err := one[credentialsRow](r.db.WithContext(ctx).Where("instance_id = ?", key(id)))
	return secret.Sealed{KeyID: row.KeyID, Ciphertext: row.Ciphertext}, err
}

// Delivery implements webhook.Reader.
func (r reader) Delivery(ctx context.Context, id webhook.DeliveryID) (webhook.Delivery, error) {
	return delivery(r.db.WithContext(ctx).Where("id = ?", key(id)))
}

// Idempotent implements idempotency.Store.
func (r reader) Idempotent(ctx context.Context, tenant tenant.ID, idemKey string) (idempotency.Record, error) {
	if !legible(idemKey) {
		return idempotency.Record{}, fault.ErrNotFound
	}
	row, err := one[idempotencyRow](r.db.WithContext(ctx).Where("tenant_id = ? AND idem_key = ?", key(tenant), idemKey))
	return idempotency.Record{
		Tenant: tenant, Key: idemKey, Fingerprint: row.Fingerprint, CreatedAt: moment(row.CreatedAt),
		Answer: secret.Sealed{KeyID: row.KeyID, Ciphertext: row.Ciphertext},
	}, err
}

// due narrows a query to rows whose wake_at has come; ended ones have none.
func (r reader) due(ctx context.Context, now time.Time, limit int) *gorm.DB {
	return r.db.WithContext(ctx).Where("wake_at <= ?", millis(now)).Order("wake_at").Limit(limit)
}

// DueJobs implements job.Store.
func (r reader) DueJobs(ctx context.Context, now time.Time, limit int) ([]job.Job, error) {
	var rows []jobRow
	if err := r.due(ctx, now, limit).Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, jobRow.entity)
}

// PortsLeft implements host.Reader.
func (r reader) PortsLeft(ctx context.Context, host host.Host, n int, now time.Time) (bool, error) {
	db := r.db.WithContext(ctx)
	fresh, err := freshPort(db, host)
	if err != nil {
		return false, err
	}
	missing := n - max(0, host.PortHigh-fresh+1)
	if missing <= 0 {
		return true, nil
	}
	_, err = restedPort(db.Offset(missing-1), host, now)
	if !errors.Is(err, fault.ErrNotFound) {
		return err == nil, err
	}
	free, err := r.PortsFree(ctx, host, now) // there may be gaps
	return free >= n, err
}

// PortsFree implements host.Reader.
func (r reader) PortsFree(ctx context.Context, host host.Host, now time.Time) (int, error) {
	var used int64
	err := r.db.WithContext(ctx).Model(&portRow{}).
		Where("host_id = ? AND port BETWEEN ? AND ? AND (instance_id IS NOT NULL OR rest_until > ?)", key(host.ID), host.PortLow, host.PortHigh, millis(now)).
		Count(&used).Error
	return host.PortHigh - host.PortLow + 1 - int(used), translate(err)
}
