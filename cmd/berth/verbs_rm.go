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
	var force bool
	cmd := c.severalCommand(several{
		verb: "delete", doing: "Deleting", done: "Deleted",
		ask: func(ctx context.Context, cl *client.Client, i client.Instance) (client.Accepted, error) {
			if force {
				return cl.ForceDelete(ctx, i)
			}
			return cl.Delete(ctx, i)
		},
	})
	cmd.Use, cmd.Aliases, cmd.Short = "rm NAME|ID...", []string{"delete"}, "Delete instances and their data"
	cmd.Flags().BoolVar(&force, "force", false, "do not wait for a host that does not respond; it is cleaned up once it does")
	return cmd
}

// powerCommands give the verbs for servers.
func (c *cli) powerCommands() []*cobra.Command {
	one := func(verb, doing, done, short, force string) *cobra.Command {
		var kill bool
		cmd := c.severalCommand(several{
			verb: verb, doing: doing, done: done,
			ask: func(ctx context.Context, cl *client.Client, i client.Instance) (client.Accepted, error) {
				return cl.Act(ctx, i, verb, kill)
			},
		})
		cmd.Use, cmd.Short = verb+" NAME|ID...", short
		if force != "" {
			cmd.Flags().BoolVar(&kill, "force", false, force)
		}
		return cmd
	}
	const force = "kill the server instead of asking it to end"
	return []*cobra.Command{
		one("restart", "Restarting", "Restarted", "Restart the servers of instances", force),
		one("stop", "Stopping", "Stopped", "Stop the servers of instances; their data stays", force),
		one("start", "Starting", "Started", "Start the servers of stopped instances", ""),
	}
}

// severalCommand gives a verb that is done with several instances. The caller names and describes it.
func (c *cli) severalCommand(s several) *cobra.Command {
	var (
		wait    bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Args: cobra.MinimumNArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if timeout <= 0 {
				return usagef(cmd, "--timeout must be above 0")
			}
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			s := s
			s.cli, s.cmd, s.cl, s.timeout = c, cmd, cl, timeout
			s.request(ctx, args)
			if wait {
				s.wait(ctx)
			}
			return s.finish(wait, len(args))
		}),
	}
	waitFlags(cmd, &wait, &timeout)
	return cmd
}

// several is one call of a verb that is done with several instances. What goes wrong with one
// does not keep it from being done with the others.
type several struct {
	verb, doing, done string
	ask               func(context.Context, *client.Client, client.Instance) (client.Accepted, error)

	cli      *cli
	cmd      *cobra.Command
	cl       *client.Client
	timeout  time.Duration
	accepted []client.Accepted
	failed   []error
}

// request asks for all before any is waited for, so that they run side by side.
func (s *several) request(ctx context.Context, names []string) {
	for _, name := range names {
		accepted, err := s.one(ctx, name)
		if err == nil {
			s.accepted = append(s.accepted, accepted)
			continue
		}
		s.failed = append(s.failed, err)
		var unreachable *client.UnreachableError
		if ctx.Err() != nil || errors.As(err, &unreachable) {
			return
		}
	}
}

func (s *several) one(ctx context.Context, name string) (client.Accepted, error) {
	instance, err := s.cl.Find(ctx, name)
	if err != nil {
		return client.Accepted{}, err
	}
	return s.ask(ctx, s.cl, instance)
}

func (s *several) wait(ctx context.Context) {
	for i := range s.accepted {
		a := &s.accepted[i]
		title := fmt.Sprintf("%s %s %s", s.verb, clean(a.Instance.Engine), clean(a.Instance.Name))
		job, err := s.cli.follow(ctx, s.cmd, s.cl, followed{job: a.Job, title: title, timeout: s.timeout})
		a.Job = job
		if err != nil {
			s.failed = append(s.failed, err)
			continue
		}
		if instance, err := s.cl.Instance(ctx, a.Instance.ID); err == nil {
			a.Instance = instance
		}
	}
}

// finish prints what was accepted: the API's document for one instance, a list of
// them for several.
func (s *several) finish(waited bool, asked int) error {
	p := printer{w: s.cmd.OutOrStdout()}
	switch {
	case s.cli.json() && asked == 1 && len(s.accepted) == 1:
		p.err = printJSON(p.w, s.accepted[0])
	case s.cli.json() && asked > 1:
		items := append([]client.Accepted{}, s.accepted...)
		p.err = printJSON(p.w, client.Page[client.Accepted]{Items: items})
	case !s.cli.json():
		for _, a := range s.accepted {
			s.say(&p, a, waited)
		}
	}
	if p.err != nil {
		s.failed = append(s.failed, p.err)
	}
	if len(s.failed) > 0 {
		return errorList(s.failed)
	}
	return nil
}

func (s *several) say(p *printer, a client.Accepted, waited bool) {
	name := clean(a.Instance.Engine) + " " + clean(a.Instance.Name)
	switch {
	case a.Job.State == client.JobSucceeded:
		p.linef("%s %s.", s.done, name)
	case !waited:
		p.linef("%s %s. Wait for it: berth wait %s", s.doing, name, clean(a.Job.ID))
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
