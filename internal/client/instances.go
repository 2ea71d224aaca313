package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Engines lists what can be created.
func (c *Client) Engines(ctx context.Context) (Page[Engine], error) {
	var out Page[Engine]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"engines"}}, &out)
	return out, err
}

// Create asks for an instance. The idempotency key makes the request safe to
// repeat, here and by the caller: the same key never makes a second instance.
func (c *Client) Create(ctx context.Context, engine, idempotencyKey string, in CreateRequest) (Accepted, error) {
	var out Accepted
	err := c.do(ctx, call{
		method: http.MethodPost, path: []string{"storage", engine, "instances"},
		body: in, idempotencyKey: idempotencyKey,
	}, &out)
	return out, err
}

// InstanceFilter narrows a list of instances; its zero value lists all live ones.
type InstanceFilter struct {
	Engine  string
	State   string
	Name    string
	Labels  []string // "key=value"; an instance must have them all
	Deleted bool     // those that were deleted, too
	Limit   int      // at most so many; 0: as the server likes
	Cursor  string   // Page.NextCursor of the page before
}

func (f InstanceFilter) query() url.Values {
	q := url.Values{}
	set(q, "state", f.State)
	set(q, "name", f.Name)
	set(q, "cursor", f.Cursor)
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	if f.Deleted {
		q.Set("deleted", "true")
	}
	for _, l := range f.Labels {
		q.Add("label", l)
	}
	return q
}

func set(q url.Values, key, value string) {
	if value != "" {
		q.Set(key, value)
	}
}

// Instances gives one page of instances.
func (c *Client) Instances(ctx context.Context, f InstanceFilter) (Page[Instance], error) {
	path := []string{"storage", "instances"}
	if f.Engine != "" {
		path = []string{"storage", f.Engine, "instances"}
	}
	var out Page[Instance]
	err := c.do(ctx, call{method: http.MethodGet, path: path, query: f.query()}, &out)
	return out, err
}

// Instance gives one instance by its id, whatever its engine.
func (c *Client) Instance(ctx context.Context, id string) (Instance, error) {
	var out Instance
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"storage", "instances", id}}, &out)
	return out, err
}

// Find gives an instance by its id or its name. Names never look like ids: they
// hold no underscore.
func (c *Client) Find(ctx context.Context, nameOrID string) (Instance, error) {
	if strings.HasPrefix(nameOrID, "ins_") {
		return c.Instance(ctx, nameOrID)
	}
	if nameOrID != "" {
		page, err := c.Instances(ctx, InstanceFilter{Name: nameOrID})
		if err != nil {
			return Instance{}, err
		}
		for _, i := range page.Items {
			if i.Name == nameOrID {
				return i, nil
			}
		}
	}
	return Instance{}, &Problem{
		Status: http.StatusNotFound, Code: CodeNotFound, RetryAfter: -1,
		Detail: fmt.Sprintf("there is no instance named %q", nameOrID),
	}
}

// Connection gives what is needed to use the instance, its password included.
func (c *Client) Connection(ctx context.Context, i Instance) (Connection, error) {
	var out Connection
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"storage", i.Engine, "instances", i.ID, "config"}}, &out)
	return out, err
}

// Act asks for something to be done with the server of an instance: "restart", "stop" or "start".
// With force the server is not let end by itself.
func (c *Client) Act(ctx context.Context, i Instance, verb string, force bool) (Accepted, error) {
	var body any
	if force {
		body = map[string]bool{"force": true}
	}
	var out Accepted
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"storage", i.Engine, "instances", i.ID, verb}, body: body}, &out)
	return out, err
}

// Delete asks for the end of an instance. While it is being deleted, the answer is
// the same job again; afterwards it is a Problem with CodeGone.
func (c *Client) Delete(ctx context.Context, i Instance) (Accepted, error) {
	var out Accepted
	err := c.do(ctx, call{method: http.MethodDelete, path: []string{"storage", i.Engine, "instances", i.ID}}, &out)
	return out, err
}

// ForceDelete deletes the instance without waiting for its host, which is cleaned up
// when it answers.
func (c *Client) ForceDelete(ctx context.Context, i Instance) (Accepted, error) {
	var out Accepted
	err := c.do(ctx, call{
		method: http.MethodDelete, path: []string{"storage", i.Engine, "instances", i.ID}, query: url.Values{"force": {"true"}},
	}, &out)
	return out, err
}
