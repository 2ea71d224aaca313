package client

import (
	"context"
	"net/http"
)

// Use is how much of something a tenant uses, and its limit; nil: there is none.
type Use struct {
	Used  float64  `json:"used"`
	Limit *float64 `json:"limit,omitempty"`
}

// Usage is what a tenant uses of its quota: CPU in cores, memory and disk in bytes.
type Usage struct {
	TenantID    string `json:"tenant_id"`
	Instances   Use    `json:"instances"`
	CPU         Use    `json:"cpu"`
	Memory      Use    `json:"memory"`
	Disk        Use    `json:"disk"`
	Ports       Use    `json:"ports"`
	JobsPerHour Use    `json:"jobs_per_hour"`
}

// Quota has the limits that were set for a tenant, by what they limit; -1: no limit. What is
// not in it has the server's default. Bytes may be given as in "8gb".
type Quota map[string]any

// Usage returns what the caller's tenant uses.
func (c *Client) Usage(ctx context.Context) (Usage, error) {
	var out Usage
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"usage"}}, &out)
	return out, err
}

// Quota returns the limits that were set for a tenant.
func (c *Client) Quota(ctx context.Context, tenant string) (Quota, error) {
	var out Quota
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"tenants", tenant, "quota"}}, &out)
	return out, err
}

// SetQuota replaces the limits that were set for a tenant.
func (c *Client) SetQuota(ctx context.Context, tenant string, q Quota) (Quota, error) {
	var out Quota
	err := c.do(ctx, call{method: http.MethodPut, path: []string{"tenants", tenant, "quota"}, body: q}, &out)
	return out, err
}
