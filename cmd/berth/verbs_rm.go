package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

func (c *cli) rmCommand() *cobra.Command {
	var (
		wait    bool
		force   bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:     "rm NAME|ID...",
		Aliases: []string{"delete"},
		Short:   "Delete instances and their data",
		Args:    cobra.MinimumNArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if timeout <= 0 {
				return usagef(cmd, "--timeout must be above 0")
			}
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			r := removal{cli: c, cmd: cmd, cl: cl, timeout: timeout, force: force}
			r.request(ctx, args)
			if wait {
				r.wait(ctx)
			}
			return r.finish(wait, len(args))
		}),
	}
	waitFlags(cmd, &wait, &timeout)
	cmd.Flags().BoolVar(&force, "force", false, "do not wait for a host that does not respond; it is cleaned up once it does")
	return cmd
}

// removal is one call of `berth rm`. What goes wrong with one instance does not
// keep the others from being deleted.
type removal struct {
	cli      *cli
	cmd      *cobra.Command
	cl       *client.Client
	timeout  time.Duration
	force    bool
	accepted []client.Accepted
	failed   []error
}

// request asks for all deletions before any is waited for, so that they run side
// by side.
func (r *removal) request(ctx context.Context, names []string) {
	for _, name := range names {
		accepted, err := r.one(ctx, name)
		if err == nil {
			r.accepted = append(r.accepted, accepted)
			continue
		}
		r.failed = append(r.failed, err)
		var unreachable *client.UnreachableError
		if ctx.Err() != nil || errors.As(err, &unreachable) {
			return
		}
	}
}

func (r *removal) one(ctx context.Context, name string) (client.Accepted, error) {
	instance, err := r.cl.Find(ctx, name)
	if err != nil {
		return client.Accepted{}, err
	}
	if r.force {
		return r.cl.ForceDelete(ctx, instance)
	}
	return r.cl.Delete(ctx, instance)
}

func (r *removal) wait(ctx context.Context) {
	for i := range r.accepted {
		a := &r.accepted[i]
		title := fmt.Sprintf("delete %s %s", clean(a.Instance.Engine), clean(a.Instance.Name))
		job, err := r.cli.follow(ctx, r.cmd, r.cl, followed{job: a.Job, title: title, timeout: r.timeout})
		a.Job = job
		if err != nil {
			r.failed = append(r.failed, err)
			continue
		}
		if instance, err := r.cl.Instance(ctx, a.Instance.ID); err == nil {
			a.Instance = instance
		}
	}
}

// finish prints what was accepted: the API's document for one instance, a list of
// them for several.
func (r *removal) finish(waited bool, asked int) error {
	p := printer{w: r.cmd.OutOrStdout()}
	switch {
	case r.cli.json() && asked == 1 && len(r.accepted) == 1:
		p.err = printJSON(p.w, r.accepted[0])
	case r.cli.json() && asked > 1:
		items := append([]client.Accepted{}, r.accepted...)
		p.err = printJSON(p.w, client.Page[client.Accepted]{Items: items})
	case !r.cli.json():
		for _, a := range r.accepted {
			r.say(&p, a, waited)
		}
	}
	if p.err != nil {
		r.failed = append(r.failed, p.err)
	}
	if len(r.failed) > 0 {
		return errorList(r.failed)
	}
	return nil
}

func (r *removal) say(p *printer, a client.Accepted, waited bool) {
	name := clean(a.Instance.Engine) + " " + clean(a.Instance.Name)
	switch {
	case a.Job.State == client.JobSucceeded:
		p.linef("Deleted %s.", name)
	case !waited:
		p.linef("Deleting %s. Wait for it: berth wait %s", name, clean(a.Job.ID))
	}
}

func (c *cli) waitCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait JOB_ID",
		Short: "Wait for a job to end and show its steps",
		Args:  cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if timeout <= 0 {
				return usagef(cmd, "--timeout must be above 0")
			}
			return c.wait(ctx, cmd, args[0], timeout)
		}),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", defaultTimeout, "how long to wait; the job continues afterwards")
	return cmd
}

func (c *cli) wait(ctx context.Context, cmd *cobra.Command, id string, timeout time.Duration) error {
	cl, err := c.client(cmd)
	if err != nil {
		return err
	}
	job, err := cl.Job(ctx, id, 0)
	if err != nil {
		return err
	}
	job, outcome := c.follow(ctx, cmd, cl, followed{job: job, title: jobTitle(job), timeout: timeout})
	p := printer{w: cmd.OutOrStdout()}
	switch {
	case c.json():
		p.err = printJSON(p.w, job)
	case outcome == nil:
		p.linef("Job %s succeeded.", clean(job.ID))
	}
	return firstError(outcome, p.err)
}
