package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/berth-project/berth/internal/backoff"
)

// JobFilter narrows a list of jobs.
type JobFilter struct {
	InstanceID string
	Parent     string // only the jobs below the one with this id
	State      string
	Limit      int // at most so many; 0: as the server likes
	Cursor     string
}

// Jobs gives one page of jobs.
func (c *Client) Jobs(ctx context.Context, f JobFilter) (Page[Job], error) {
	q := url.Values{}
	set(q, "instance_id", f.InstanceID)
	set(q, "parent", f.Parent)
	set(q, "state", f.State)
	set(q, "cursor", f.Cursor)
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	var out Page[Job]
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"jobs"}, query: q}, &out)
	return out, err
}

// Job gives one job. With a wait, the server holds the answer back until the job
// has ended or the wait is over.
func (c *Client) Job(ctx context.Context, id string, wait time.Duration) (Job, error) {
	q := url.Values{}
	if wait > 0 {
		q.Set("wait", wait.String())
	}
	var out Job
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"jobs", id}, query: q, patience: wait}, &out)
	return out, err
}

// CancelJob asks a job to stop.
func (c *Client) CancelJob(ctx context.Context, id string) (Job, error) {
	var out Job
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"jobs", id, "cancel"}}, &out)
	return out, err
}

// outages is how many calls in a row may fail while waiting: enough for a server to be
// restarted, since the job goes on without us.
const outages = 7

// looks are the pauses while a server is away, or answers without holding its answer back:
// small at first, because most often it is back at once.
var looks = backoff.Exponential{First: 100 * time.Millisecond, Most: 4 * time.Second}

// WaitJob follows a job until it has ended and gives its last state. It looks at
// least once in every interval and calls onLook, which may be nil, with what it
// saw. When it must give up, it returns the last state seen beside the error.
func (c *Client) WaitJob(ctx context.Context, id string, every time.Duration, onLook func(Job)) (Job, error) {
	var last Job
	failures, pauses := 0, 0
	longer := func() time.Duration {
		pauses++
		return looks.After(pauses)
	}
	// The first look does not wait: what there is to show is shown at once.
	for wait := time.Duration(0); ; {
		asked := c.now()
		job, err := c.Job(ctx, id, wait)
		if err != nil {
			failures++
			if !passingOutage(err) || last.ID == "" || failures > outages {
				return last, err
			}
			if err := c.sleep(ctx, longer()); err != nil {
				return last, err
			}
			continue
		}
		if failures > 0 {
			failures, pauses = 0, 0
		}
		last = job
		if onLook != nil {
			onLook(job)
		}
		if job.Ended() {
			return job, nil
		}
		// A server, or a proxy before it, that does not hold answers back must not be
		// asked in a tight loop.
		if early := wait - c.now().Sub(asked); early > 0 {
			if err := c.sleep(ctx, min(early, longer())); err != nil {
				return last, err
			}
		} else {
			pauses = 0
		}
		wait = every
	}
}

// passingOutage reports whether the server was away rather than unwilling.
func passingOutage(err error) bool {
	var unreachable *UnreachableError
	var p *Problem
	return errors.As(err, &unreachable) || (errors.As(err, &p) && passing(p))
}
