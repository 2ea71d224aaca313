package store

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

type webhookRow struct {
	ID                 string `gorm:"primaryKey"`
	TenantID           string
	URL                string
	Events             string
	Description        string
	Enabled            bool
	Reason             string
	KeyID              string
	Ciphertext         []byte
	PreviousKeyID      string
	PreviousCiphertext []byte
	PreviousUntil      int64
	Rev                int64
	CreatedAt          int64 `gorm:"autoCreateTime:false"`
	UpdatedAt          int64 `gorm:"autoUpdateTime:false"`
}

func (webhookRow) TableName() string { return "webhooks" }

func toWebhookRow(h webhook.Webhook) (webhookRow, error) {
	events, err := toJSON(h.Events)
	if err != nil {
		return webhookRow{}, err
	}
	row := webhookRow{
		ID: string(h.ID), TenantID: string(h.Tenant), URL: h.URL, Events: events, Description: h.Description, Enabled: h.Enabled, Reason: h.Reason,
		KeyID: h.Secret.KeyID, Ciphertext: h.Secret.Ciphertext, PreviousKeyID: h.Previous.KeyID, PreviousCiphertext: h.Previous.Ciphertext,
		PreviousUntil: millis(h.PreviousUntil), Rev: h.Rev, CreatedAt: millis(h.CreatedAt), UpdatedAt: millis(h.UpdatedAt),
	}
	if row.PreviousCiphertext == nil {
		row.PreviousCiphertext = []byte{}
	}
	return row, nil
}

func (r webhookRow) entity() (webhook.Webhook, error) {
	h := webhook.Webhook{
		ID: webhook.ID(r.ID), Tenant: tenant.ID(r.TenantID), URL: r.URL, Description: r.Description, Enabled: r.Enabled, Reason: r.Reason,
		Secret:        secret.Sealed{KeyID: r.KeyID, Ciphertext: r.Ciphertext},
		PreviousUntil: moment(r.PreviousUntil), Rev: r.Rev, CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt),
	}
	if len(r.PreviousCiphertext) > 0 {
		h.Previous = secret.Sealed{KeyID: r.PreviousKeyID, Ciphertext: r.PreviousCiphertext}
	}
	return h, fromJSON(r.Events, &h.Events)
}

// Webhook implements webhook.Reader.
func (r reader) Webhook(ctx context.Context, id webhook.ID) (webhook.Webhook, error) {
	row, err := one[webhookRow](r.db.WithContext(ctx).Where("id = ?", key(id)))
	if err != nil {
		return webhook.Webhook{}, err
	}
	return row.entity()
}

// Webhooks implements webhook.Reader.
func (r reader) Webhooks(ctx context.Context, tenant tenant.ID, page page.Page) ([]webhook.Webhook, error) {
	return webhooks(keyset(r.db.WithContext(ctx).Where("tenant_id = ?", key(tenant)), page))
}

func webhooks(q *gorm.DB) ([]webhook.Webhook, error) {
	var rows []webhookRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, webhookRow.entity)
}

func delivery(q *gorm.DB) (webhook.Delivery, error) {
	row, err := one[deliveryRow](q)
	if err != nil {
		return webhook.Delivery{}, err
	}
	return row.entity()
}

// Deliveries implements webhook.Reader.
func (r reader) Deliveries(ctx context.Context, f webhook.DeliveryFilter, page page.Page) ([]webhook.Delivery, error) {
	q := r.db.WithContext(ctx).Where("tenant_id = ?", key(f.Tenant))
	for column, id := range map[string]string{
		"webhook_id": string(f.Webhook), "job_id": string(f.Job), "instance_id": string(f.Subject), "event_id": string(f.Event),
	} {
		if id != "" {
			q = q.Where(column+" = ? AND "+column+" <> ''", key(id)) // unlike the others, these may be empty
		}
	}
	if f.State != "" {
		q = q.Where("state = ?", string(f.State))
	}
	var rows []deliveryRow
	if err := keyset(q, page).Find(&rows).Error; err != nil {
		return nil, translate(err)
	}
	return entities(rows, deliveryRow.entity)
}

// NextDelivery implements webhook.Reader.
func (r reader) NextDelivery(ctx context.Context, receiver string, now time.Time) (webhook.Delivery, error) {
	return delivery(r.db.WithContext(ctx).
		Where("receiver = ? AND state = ? AND due_at <= ?", receiver, string(webhook.DeliveryPending), millis(now)).Order("due_at, id"))
}

func (t *tx) Webhook(id webhook.ID) (webhook.Webhook, error) {
	return t.reader.Webhook(t.ctx, id)
}

// ListenersAhead implements webhook.Reader. On MySQL it spares the transaction a round trip.
// SQLite's would have the answer before another connection has found out what has changed.
func (r reader) ListenersAhead(ctx context.Context, owner tenant.ID) <-chan []webhook.Webhook {
	if r.db.Name() == dialectSQLite {
		return nil
	}
	read := make(chan []webhook.Webhook, 1)
	go func() {
		if hooks, err := r.listeners(ctx, owner); err == nil {
			read <- hooks
		}
	}()
	return read
}

func (r reader) listeners(ctx context.Context, owner tenant.ID) ([]webhook.Webhook, error) {
	if err := mayCount(ctx, owner); err != nil { // nobody listens, it would seem
		return nil, err
	}
	return webhooks(r.db.WithContext(ctx).Where("tenant_id = ? AND enabled = ?", string(owner), true).Order("id"))
}

// Listeners implements webhook.Rows.
func (t *tx) Listeners(owner tenant.ID) ([]webhook.Webhook, error) {
	return t.listeners(t.ctx, owner)
}

func (t *tx) InsertWebhook(h webhook.Webhook) error {
	row, err := toWebhookRow(h)
	if err != nil {
		return err
	}
	return insert(t.db, row)
}

func (t *tx) UpdateWebhook(h webhook.Webhook) error {
	row, err := toWebhookRow(h)
	if err != nil {
		return err
	}
	return changed(t.db.Model(&webhookRow{}).Where("id = ? AND rev = ?", row.ID, row.Rev).Updates(map[string]any{
		"url": row.URL, "events": row.Events, "description": row.Description, "enabled": row.Enabled, "reason": row.Reason,
		"key_id": row.KeyID, "ciphertext": row.Ciphertext, "previous_key_id": row.PreviousKeyID, "previous_ciphertext": row.PreviousCiphertext,
		"previous_until": row.PreviousUntil, "rev": oneMore, "updated_at": row.UpdatedAt,
	}), fault.ErrConflict)
}

func (t *tx) DeleteWebhook(id webhook.ID) error {
	return changed(t.db.Where("id = ?", string(id)).Delete(&webhookRow{}), fault.ErrConflict)
}

func (t *tx) EndDeliveries(id webhook.ID, reason string, now time.Time) error {
	return t.db.Model(&deliveryRow{}).Where("webhook_id = ? AND state = ?", string(id), string(webhook.DeliveryPending)).Updates(map[string]any{
		"state": string(webhook.DeliveryCanceled), "wake_at": nil, "last_error": reason, "rev": oneMore, "updated_at": millis(now),
	}).Error
}
