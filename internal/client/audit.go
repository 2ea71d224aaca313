package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// AuditEntry is one entry of the audit log.
type AuditEntry struct {
	Number       int64     `json:"number"`
	ID           string    `json:"id"`
	CreatedAt    time.Time `json:"created_at"`
	TenantID     string    `json:"tenant_id,omitempty"` // empty: the platform's
	Actor        string    `json:"actor"`
	UserID       string    `json:"user_id,omitempty"`
	KeyID        string    `json:"key_id,omitempty"`
	SessionID    string    `json:"session_id,omitempty"`
	Address      string    `json:"address,omitempty"`
	RequestID    string    `json:"request_id,omitempty"`
	Action       string    `json:"action"`
	Subject      string    `json:"subject,omitempty"`
	JobID        string    `json:"job_id,omitempty"`
	Result       string    `json:"result"`
	Detail       string    `json:"detail,omitempty"`
	PreviousHash string    `json:"previous_hash,omitempty"`
	Hash         string    `json:"hash"`
}

// AuditFilter narrows the audit log; empty fields do not.
type AuditFilter struct {
	All          bool // of all tenants and the platform
	Action       string
	UserID       string
	KeyID        string
	Subject      string
	Result       string
	Since, Until time.Time
}

func (f AuditFilter) query() url.Values {
	q := url.Values{}
	if f.All {
		q.Set("all", "true")
	}
	set(q, "action", f.Action)
	set(q, "user_id", f.UserID)
	set(q, "key_id", f.KeyID)
	set(q, "subject", f.Subject)
	set(q, "result", f.Result)
	for name, at := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !at.IsZero() {
			q.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return q
}

// Audit returns a page of the audit log, newest first.
func (c *Client) Audit(ctx context.Context, f AuditFilter, limit int, cursor string) (Page[AuditEntry], error) {
	q := f.query()
	q.Set("limit", strconv.Itoa(limit))
	set(q, "cursor", cursor)
	var out Page[AuditEntry]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"audit"}, query: q}, &out)
	return out, err
}

// auditPage is how many entries one page has.
const auditPage = 200

// EachAudit calls on with every entry, newest first.
func (c *Client) EachAudit(ctx context.Context, f AuditFilter, on func(AuditEntry) error) error {
	for cursor := ""; ; {
		page, err := c.Audit(ctx, f, auditPage, cursor)
		if err != nil {
			return err
		}
		for _, e := range page.Items {
			if err := on(e); err != nil {
				return err
			}
		}
		if page.NextCursor == "" || page.NextCursor == cursor {
			return nil
		}
		cursor = page.NextCursor
	}
}
