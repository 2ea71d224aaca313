package store

import (
	"bytes"
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/idempotency"
	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/job"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// tx implements rooms.Tx. Its context is the one its transaction was begun
// with, so it lives no longer than that call.
type tx struct {
	reader
	ctx   context.Context //nolint:containedctx // bound to the transaction, see above
	after []func(context.Context)
}

// OnCommit implements event.Tx.
func (t *tx) OnCommit(do func(context.Context)) { t.after = append(t.after, do) }

// changed gives the error where a conditional write met no row.
func changed(done *gorm.DB, otherwise *fault.Error) error {
	if done.Error == nil && done.RowsAffected == 0 {
		return otherwise
	}
	return done.Error
}

// oneMore makes every write change its row: MySQL counts only rows that changed.
var oneMore = gorm.Expr("rev + 1")

func (t *tx) Job(id id.Job) (job.Job, error) { return t.reader.Job(t.ctx, id) }

func (t *tx) Instance(id instance.ID) (instance.Instance, error) {
	return t.reader.Instance(t.ctx, id)
}

func (t *tx) Delivery(id webhook.DeliveryID) (webhook.Delivery, error) {
	return t.reader.Delivery(t.ctx, id)
}

func (t *tx) ActiveJob(subject id.Subject) (job.Job, error) {
	return t.reader.ActiveJob(t.ctx, subject)
}

func (t *tx) Credentials(id instance.ID) (secret.Sealed, error) {
	return t.reader.Credentials(t.ctx, id)
}

func (t *tx) InsertInstance(i instance.Instance) error {
	row, err := toInstanceRow(i)
	if err != nil {
		return err
	}
	if err := insert(t.db, row); err != nil {
		return duplicate(err, fault.ErrNameHeld)
	}
	wrote(t.ctx, row.ID)
	return t.putLabels(i)
}

// ReplaceInstance implements instance.Tx. Within the fence of a tenant it takes over what is
// nobody's, and nothing else.
func (t *tx) ReplaceInstance(i instance.Instance) error {
	row, err := toInstanceRow(i)
	if err != nil {
		return err
	}
	columns := row.changing()
	columns["tenant_id"], columns["name"], columns["labels"], columns["created_at"] = row.TenantID, row.Name, row.Labels, row.CreatedAt
	columns["engine"], columns["version"] = row.Engine, row.Version
	columns["disk_state"], columns["disk_used"], columns["disk_bound"], columns["disk_seen"] = "", 0, "", 0 // it is another's now
	rows := t.db
	if of, fenced := tenant.Fence(t.ctx); fenced {
		if err := ours(t.db, of, row.TableName(), row.TenantID); err != nil {
			return err
		}
		rows = t.db.WithContext(tenant.Beyond(t.ctx)).Where("tenant_id = ?", string(tenant.Nobody)) // its row becomes the tenant's
	}
	if err := changeInstance(rows, row, columns); err != nil {
		return duplicate(err, fault.ErrNameHeld)
	}
	wrote(t.ctx, row.ID)
	if err := t.db.Where("instance_id = ?", row.ID).Delete(&labelRow{}).Error; err != nil {
		return err
	}
	return t.putLabels(i)
}

func (t *tx) putLabels(i instance.Instance) error {
	labels := make([]labelRow, 0, len(i.Labels))
	for name, value := range i.Labels {
		labels = append(labels, labelRow{string(i.ID), name, value})
	}
	if len(labels) == 0 {
		return nil
	}
	return t.db.Create(&labels).Error
}

func (t *tx) UpdateInstance(i instance.Instance) error {
	row, err := toInstanceRow(i)
	if err != nil {
		return err
	}
	return changeInstance(t.db, row, row.changing())
}

// UpdateDisk implements instance.Rows. It leaves the revision as it is, so that a measurement
// is in nobody's way.
func (t *tx) UpdateDisk(id instance.ID, before, next instance.Disk) error {
	same := t.db.Model(&instanceRow{}).Where("id = ? AND deleted_at = 0 AND disk_state = ? AND disk_seen = ?", key(id), string(before.State), millis(before.SeenAt))
	return changed(same.UpdateColumns(map[string]any{
		"disk_state": string(next.State), "disk_used": next.UsedBytes, "disk_bound": string(next.Bound), "disk_seen": millis(next.SeenAt),
	}), fault.ErrConflict)
}

func changeInstance(db *gorm.DB, row instanceRow, columns map[string]any) error {
	return changed(db.Model(&instanceRow{}).Where("id = ? AND rev = ?", row.ID, row.Rev).Updates(columns), fault.ErrConflict)
}

// changing gives the columns that can change in the life of an instance.
func (r instanceRow) changing() map[string]any {
	return map[string]any{
		"live_name": r.LiveName, "plan": r.Plan, "cpu_millis": r.CPUMillis, "memory_bytes": r.MemoryBytes, "disk_bytes": r.DiskBytes,
		"parameters": r.Parameters, "state": r.State, "reason": r.Reason, "host_id": r.HostID, "address": r.Address, "port": r.Port,
		"fence": r.Fence, "rev": oneMore, "updated_at": r.UpdatedAt, "deleted_at": r.DeletedAt, "kept_until": r.KeptUntil, "data_lost": r.DataLost,
		"ports": r.Ports, "require_tls": r.RequireTLS, "tls_port": r.TLSPort, "cert_until": r.CertUntil, "placement": r.Placement,
	}
}

func (t *tx) InsertJob(j job.Job) error {
	row, err := toJobRow(j)
	if err != nil {
		return err
	}
	return duplicate(insert(t.db, row), fault.ErrBusy)
}

// ChildJobs implements job.Tx.
func (t *tx) ChildJobs(parent id.Job) ([]job.Job, error) {
	var rows []jobRow
	if err := t.db.Where("parent_id = ?", string(parent)).Order("id").Find(&rows).Error; err != nil {
		return nil, err
	}
	return entities(rows, jobRow.entity)
}

func (t *tx) UpdateJob(j job.Job, fence int64) error {
	row, err := toJobRow(j)
	if err != nil {
		return err
	}
	return changed(t.liveJob(row.ID, fence).Updates(map[string]any{
		"live_instance_id": row.LiveInstanceID, "state": row.State, "steps": row.Steps, "error": row.Error, "attempt": row.Attempt,
		"crashes": row.Crashes, "undoing": row.Undoing, "fence": row.Fence, "owner": row.Owner, "lease_until": row.LeaseUntil,
		"generation": row.Generation, "wake_at": row.WakeAt, "rev": oneMore, "started_at": row.StartedAt, "finished_at": row.FinishedAt,
		"updated_at": row.UpdatedAt,
	}), fault.ErrFenced)
}

// liveJob names the job's row as long as it has the fence and has not ended.
func (t *tx) liveJob(id string, fence int64) *gorm.DB {
	return t.db.Model(&jobRow{}).Where("id = ? AND fence = ? AND live_instance_id IS NOT NULL", id, fence)
}

func (t *tx) RescheduleJob(j job.Job, generation int64, wakeAt time.Time) error {
	return changed(t.liveJob(string(j.ID), j.Fence).Where("generation = ? AND wake_at = ?", j.Generation, millis(j.WakeAt)).
		Updates(map[string]any{"generation": generation, "wake_at": millis(wakeAt), "rev": oneMore}), fault.ErrConflict)
}

func (t *tx) CheckClaim(c job.Claim) error {
	return changed(t.liveJob(string(c.Job), c.Fence).Updates(map[string]any{"rev": oneMore}), fault.ErrFenced)
}

func (t *tx) PutCredentials(id instance.ID, s secret.Sealed) error {
	return replace(t.db, credentialsRow{InstanceID: string(id), KeyID: s.KeyID, Ciphertext: s.Ciphertext})
}

func (t *tx) DeleteCredentials(id instance.ID) error {
	return t.db.Where("instance_id = ?", string(id)).Delete(&credentialsRow{}).Error
}

func (t *tx) AppendEvent(e event.Event) error {
	return insert(t.db, eventRow{
		ID: string(e.ID), TenantID: string(e.Tenant), Type: e.Type, InstanceID: string(e.Subject), JobID: string(e.Job), Message: e.Message, At: millis(e.At),
	})
}

func (t *tx) InsertDelivery(d webhook.Delivery) error {
	row, err := toDeliveryRow(d)
	if err != nil {
		return err
	}
	return insert(t.db, row)
}

func (t *tx) UpdateDelivery(after, before webhook.Delivery) error {
	row, err := toDeliveryRow(after)
	if err != nil {
		return err
	}
	columns := map[string]any{
		"url": row.URL, "receiver": row.Receiver, "attempts": row.Attempts, "state": row.State, "attempt": row.Attempt, "last_status": row.LastStatus,
		"last_error": row.LastError, "due_at": row.DueAt, "generation": row.Generation, "wake_at": row.WakeAt, "expires_at": row.ExpiresAt, "rev": oneMore,
		"updated_at": row.UpdatedAt,
	}
	if !bytes.Equal(after.Secret.Ciphertext, before.Secret.Ciphertext) { // else it may have been sealed anew meanwhile
		columns["key_id"], columns["ciphertext"] = row.KeyID, row.Ciphertext
	}
	return changed(t.db.Model(&deliveryRow{}).
		Where("id = ? AND attempt = ? AND generation = ? AND state = ?", row.ID, before.Attempt, before.Generation, string(before.State)).
		Updates(columns), fault.ErrConflict)
}

func (t *tx) PutIdempotent(r idempotency.Record) error {
	return duplicate(insert(t.db, idempotencyRow{
		TenantID: string(r.Tenant), IdemKey: r.Key, Fingerprint: r.Fingerprint, KeyID: r.Answer.KeyID, Ciphertext: r.Answer.Ciphertext, CreatedAt: millis(r.CreatedAt),
	}), fault.ErrConflict)
}

func (t *tx) TakeDuty(name, owner string, now, until time.Time) (bool, error) {
	err := t.db.Clauses(clause.OnConflict{DoNothing: true}).Create(&dutyRow{Name: name}).Error
	if err != nil {
		return false, err
	}
	err = changed(t.db.Model(&dutyRow{}).Where("name = ? AND (owner = ? OR until_time <= ?)", name, owner, millis(now)).
		Updates(map[string]any{"owner": owner, "until_time": millis(until), "rev": oneMore}), fault.ErrConflict)
	if errors.Is(err, fault.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// endedDeliveries are the states that a delivery does not leave, each of which is a part
// DeleteOldInstances implements instance.Rows.
func (t *tx) DeleteOldInstances(before time.Time, limit int) (int, error) {
	var gone []string
	err := t.db.Model(&instanceRow{}).
		Where("deleted_at > 0 AND deleted_at < ? AND NOT EXISTS (SELECT 1 FROM ports WHERE ports.instance_id = instances.id)", millis(before)).
		Limit(limit).Pluck("id", &gone).Error
	if err != nil || len(gone) == 0 {
		return 0, err
	}
	if err := t.db.Where("instance_id IN ?", gone).Delete(&labelRow{}).Error; err != nil {
		return 0, err
	}
	return t.purge(&instanceRow{}, "id", limit, "id IN ?", gone)
}

// DeleteOldJobs implements job.Tx.
func (t *tx) DeleteOldJobs(before time.Time, limit int) (int, error) {
	return t.purge(&jobRow{}, "id", limit, "finished_at > 0 AND finished_at < ?", millis(before))
}

// endedDeliveries are the states that a delivery does not leave, each of which is a part
// of the index by age.
var endedDeliveries = []string{
	string(webhook.DeliveryDelivered), string(webhook.DeliveryExhausted), string(webhook.DeliveryCanceled),
}

// DeleteOldDeliveries implements webhook.Rows.
func (t *tx) DeleteOldDeliveries(before time.Time, limit int) (int, error) {
	return t.purge(&deliveryRow{}, "id", limit, "state IN ? AND updated_at < ?", endedDeliveries, millis(before))
}

// DeleteOldRecords implements idempotency.Tx.
func (t *tx) DeleteOldRecords(before time.Time, limit int) (int, error) {
	return t.purge(&idempotencyRow{}, "idem_key", limit, "created_at < ?", millis(before))
}

// purge deletes some of the rows that the condition meets. It finds them first,
// because SQLite knows no DELETE with a limit; the column need not be unique, since
// the condition is asked again.
func (t *tx) purge(row any, column string, limit int, where string, args ...any) (int, error) {
	var keys []string
	if err := t.db.Model(row).Where(where, args...).Limit(limit).Pluck(column, &keys).Error; err != nil || len(keys) == 0 {
		return 0, err
	}
	done := t.db.Where(column+" IN ?", keys).Where(where, args...).Delete(row)
	return int(done.RowsAffected), done.Error
}
