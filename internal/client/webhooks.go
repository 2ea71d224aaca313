package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Webhook is an address that wants events.
type Webhook struct {
	ID             string    `json:"id"`
	URL            string    `json:"url"`
	Events         []string  `json:"events"` // empty: all
	Description    string    `json:"description"`
	Enabled        bool      `json:"enabled"`
	DisabledReason string    `json:"disabled_reason,omitempty"`
	Secret         string    `json:"secret,omitempty"` // in the answer to AddWebhook only
	CreatedAt      time.Time `json:"created_at"`
}

// Delivery is one attempt chain to tell one address of one event.
type Delivery struct {
	ID            string    `json:"id"`
	WebhookID     string    `json:"webhook_id,omitempty"` // empty: it goes to a callback_url
	EventID       string    `json:"event_id"`
	EventType     string    `json:"event_type"`
	JobID         string    `json:"job_id,omitempty"`
	URL           string    `json:"url"`
	State         string    `json:"state"`
	Attempt       int       `json:"attempt"`
	LastStatus    int       `json:"last_status,omitempty"`
	LastError     string    `json:"last_error,omitempty"`
	NextAttemptAt time.Time `json:"next_attempt_at,omitzero"`
	CreatedAt     time.Time `json:"created_at"`
}

// WebhookRequest asks for a webhook.
type WebhookRequest struct {
	URL         string   `json:"url"`
	Events      []string `json:"events,omitempty"`
	Description string   `json:"description,omitempty"`
}

// AddWebhook registers a webhook.
func (c *Client) AddWebhook(ctx context.Context, idempotencyKey string, in WebhookRequest) (Webhook, error) {
	var out Webhook
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"webhooks"}, body: in, idempotencyKey: idempotencyKey}, &out)
	return out, err
}

// Webhooks gives one page of webhooks.
func (c *Client) Webhooks(ctx context.Context, limit int, cursor string) (Page[Webhook], error) {
	var out Page[Webhook]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"webhooks"}, query: pageQuery(limit, cursor)}, &out)
	return out, err
}

// RemoveWebhook ends a webhook.
func (c *Client) RemoveWebhook(ctx context.Context, id string) (Webhook, error) {
	var out Webhook
	err := c.do(ctx, call{method: http.MethodDelete, path: []string{"webhooks", id}}, &out)
	return out, err
}

// PingWebhook sends a webhook a test.
func (c *Client) PingWebhook(ctx context.Context, idempotencyKey, id string) (Delivery, error) {
	var out Delivery
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"webhooks", id, "ping"}, idempotencyKey: idempotencyKey}, &out)
	return out, err
}

// DeliveryFilter narrows a list of deliveries.
type DeliveryFilter struct {
	WebhookID string
	JobID     string
	State     string
	Limit     int
	Cursor    string
}

// Deliveries gives one page of deliveries.
func (c *Client) Deliveries(ctx context.Context, f DeliveryFilter) (Page[Delivery], error) {
	q := pageQuery(f.Limit, f.Cursor)
	set(q, "webhook_id", f.WebhookID)
	set(q, "job_id", f.JobID)
	set(q, "state", f.State)
	var out Page[Delivery]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"deliveries"}, query: q}, &out)
	return out, err
}

func pageQuery(limit int, cursor string) url.Values {
	q := url.Values{}
	set(q, "cursor", cursor)
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return q
}
