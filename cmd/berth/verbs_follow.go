package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

const (
	// lookEvery is how stale the steps on the screen may be. The API's long poll ends
	// with the job, not with the step.
	lookEvery = 500 * time.Millisecond
	// holdFor is the long poll when nobody watches.
	holdFor = 30 * time.Second
)

// followed is a job that somebody waits for.
type followed struct {
	job     client.Job
	title   string
	timeout time.Duration
}

// follow waits for a job and shows its steps on stderr. It gives the last state it
// saw; the error is nil only if the job succeeded.
func (c *cli) follow(ctx context.Context, cmd *cobra.Command, cl *client.Client, f followed) (client.Job, error) {
	if ctx.Err() != nil {
		return f.job, &detachedError{job: f.job, err: ctx.Err(), note: "interrupted"}
	}
	waiting, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	view, every := c.progress(cmd.ErrOrStderr(), f.title)
	view.show(f.job)
	last, err := cl.WaitJob(waiting, f.job.ID, every, view.show)
	view.close()
	if last.ID == "" {
		last = f.job
	}
	return f.ended(ctx, waiting, last, err)
}

// ended says what came of waiting: nil only if the job succeeded. waiting is ctx with the timeout.
func (f followed) ended(ctx, waiting context.Context, last client.Job, err error) (client.Job, error) {
	switch {
	case err == nil && last.State == client.JobSucceeded:
		return last, nil
	case err == nil:
		return last, &jobError{title: f.title, job: last}
	case ctx.Err() != nil:
		return last, &detachedError{job: last, err: ctx.Err(), note: "interrupted"}
	case waiting.Err() != nil:
		return last, &detachedError{job: last, err: waiting.Err(), note: fmt.Sprintf("%s: not finished after %s", f.title, f.timeout)}
	default:
		return last, err
	}
}

// jobTitle names what a job does when nothing better is known.
func jobTitle(j client.Job) string {
	return fmt.Sprintf("%s of %s %s", clean(j.Kind), clean(j.Engine), clean(orElse(j.InstanceID, j.Subject)))
}
