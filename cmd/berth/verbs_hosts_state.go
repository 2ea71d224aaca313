package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

// hostIDs gives the ids of hosts that are given by names or ids.
func hostIDs(ctx context.Context, cl *client.Client, names []string) ([]string, error) {
	ids := make([]string, len(names))
	for i, name := range names {
		h, err := cl.FindHost(ctx, name)
		if err != nil {
			return nil, err
		}
		ids[i] = h.ID
	}
	return ids, nil
}

// hostPage is a list of hosts.
type hostPage = client.Page[client.Host]

// changeHosts does something to several hosts and names each.
func (c *cli) changeHosts(
	ctx context.Context, cmd *cobra.Command, names []string, done string,
	do func(cl *client.Client, ids []string) (hostPage, error),
) error {
	cl, err := c.client(cmd)
	if err != nil {
		return err
	}
	ids, err := hostIDs(ctx, cl, names)
	if err != nil {
		return err
	}
	page, outcome := do(cl, ids)
	p := printer{w: cmd.OutOrStdout()}
	if c.json() && outcome == nil {
		p.err = printJSON(p.w, page)
	}
	for _, h := range page.Items { // also those before the one that could not be changed
		if !c.json() {
			p.linef("%s %s.", done, clean(h.Name))
		}
	}
	return firstError(outcome, p.err)
}

func (c *cli) hostsCordonCommand(use, short string, cordoned bool, done string) *cobra.Command {
	return &cobra.Command{
		Use: use + " HOST...", Short: short, Args: cobra.MinimumNArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			return c.changeHosts(ctx, cmd, args, done, func(cl *client.Client, ids []string) (hostPage, error) {
				var page hostPage
				for _, id := range ids {
					h, err := cl.CordonHost(ctx, id, cordoned)
					if err != nil {
						return page, err
					}
					page.Items = append(page.Items, h)
				}
				return page, nil
			})
		}),
	}
}

func (c *cli) hostsReserveCommand(use, short string, reserved bool, done string) *cobra.Command {
	return &cobra.Command{
		Use: use + " HOST...", Short: short, Args: cobra.MinimumNArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			return c.changeHosts(ctx, cmd, args, done, func(cl *client.Client, ids []string) (hostPage, error) {
				return cl.ReserveHosts(ctx, ids, reserved)
			})
		}),
	}
}

// hostTask is a job on one host that a verb asks for.
type hostTask struct {
	waiting
	title, doing string // "drain host", "Draining host"
	ask          func(*client.Client, client.Host) (client.Job, error)
	// done says on the printer what has come of the job, once it has succeeded.
	done func(cl *client.Client, h client.Host, job client.Job, p *printer)
}

// runTask asks for the job and, where it is to be waited for, shows its steps.
func (c *cli) runTask(ctx context.Context, cmd *cobra.Command, name string, t hostTask) error {
	if err := t.check(cmd); err != nil {
		return err
	}
	cl, err := c.client(cmd)
	if err != nil {
		return err
	}
	h, err := cl.FindHost(ctx, name)
	if err != nil {
		return err
	}
	job, err := t.ask(cl, h)
	if err != nil {
		return err
	}
	if !t.wait && !job.Ended() {
		return c.said(cmd, nil, job, "%s %s. Wait for it: berth wait %s", t.doing, clean(h.Name), clean(job.ID))
	}
	var outcome error
	if job.State != client.JobSucceeded {
		job, outcome = c.follow(ctx, cmd, cl, followed{job: job, title: t.title + " " + clean(h.Name),
			timeout: t.timeout})
	}
	p := printer{w: cmd.OutOrStdout()}
	switch {
	case c.json():
		p.err = printJSON(p.w, job)
	case outcome == nil:
		t.done(cl, h, job, &p)
	}
	return firstError(outcome, p.err)
}

func (c *cli) hostsDrainCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use: "drain HOST", Short: "Cordon a host and move away what can be moved", Args: cobra.ExactArgs(1),
		Long: "Cordon a host and move away what can be moved. A single instance has its data there alone, and " +
			"stays: it is listed.",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			return c.runTask(ctx, cmd, args[0], hostTask{
				waiting: w, title: "drain host", doing: "Draining host",
				ask: func(cl *client.Client, h client.Host) (client.Job, error) { return cl.DrainHost(ctx, h.ID) },
				done: func(cl *client.Client, h client.Host, _ client.Job, p *printer) {
					left, err := cl.Host(ctx, h.ID)
					switch {
					case err != nil:
						p.err = err
					case left.Used.Instances == 0:
						p.linef("Host %s is drained; nothing is on it.", clean(h.Name))
					default:
						p.linef("Host %s is drained; %d stay on it. List them: berth hosts instances %s",
							clean(h.Name), left.Used.Instances, clean(h.Name))
					}
				},
			})
		}),
	}
	w.add(cmd)
	return cmd
}

func (c *cli) hostsInspectCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use: "inspect HOST", Short: "Check a host's machine, and its books against what is there",
		Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			return c.runTask(ctx, cmd, args[0], hostTask{
				waiting: w, title: "inspect host", doing: "Inspecting host",
				ask: func(cl *client.Client, h client.Host) (client.Job, error) { return cl.InspectHost(ctx, h.ID) },
				done: func(cl *client.Client, h client.Host, job client.Job, p *printer) {
					seen, err := cl.Host(ctx, h.ID)
					if err != nil {
						p.err = err
						return
					}
					p.linef("Inspected host %s: %s.", clean(h.Name), stepDetail(job, "ledger"))
					if len(seen.Checks) > 0 {
						p.linef("")
						p.err = firstError(p.err, printTable(p.w, checkRows(seen.Checks)))
					}
				},
			})
		}),
	}
	w.add(cmd)
	return cmd
}

func (c *cli) hostsRmCommand() *cobra.Command {
	var (
		w     waiting
		force bool
	)
	cmd := &cobra.Command{
		Use: "rm HOST", Aliases: []string{"delete"}, Short: "Delete a host that nothing is on",
		Args: cobra.ExactArgs(1),
		Long: "Delete a host that nothing is on. Berth removes what it keeps there, and its key. With --force, " +
			"for a machine that will not be back, its rows are deleted at once, and the instances that are on it by force: their data is given up.",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			return c.runTask(ctx, cmd, args[0], hostTask{
				waiting: w, title: "delete host", doing: "Deleting host",
				ask: func(cl *client.Client, h client.Host) (client.Job, error) {
					return cl.DeleteHost(ctx, h.ID, force)
				},
				done: func(_ *client.Client, h client.Host, _ client.Job, p *printer) {
					p.linef("Deleted host %s.", clean(h.Name))
				},
			})
		}),
	}
	w.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false,
		"delete the host's rows at once, and by force all instances on it: for a machine that will not be back")
	return cmd
}
