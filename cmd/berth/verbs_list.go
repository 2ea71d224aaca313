package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

const (
	defaultLimit = 100
	// pageSize is asked for at once; longer lists take several pages.
	pageSize = 100
)

// collect follows the cursor until it has limit items or there are no more.
func collect[T any](limit int, fetch func(limit int, cursor string) (client.Page[T], error)) (client.Page[T], error) {
	all := client.Page[T]{Items: []T{}}
	for {
		page, err := fetch(min(pageSize, limit-len(all.Items)), all.NextCursor)
		if err != nil {
			return all, err
		}
		// A cursor that does not move would keep us here for ever.
		stuck := page.NextCursor == all.NextCursor
		all.Items = append(all.Items, page.Items...)
		all.NextCursor = page.NextCursor
		if page.NextCursor == "" || stuck || len(all.Items) >= limit {
			return all, nil
		}
	}
}

// hintMore says on stderr that the list was cut.
func hintMore(w io.Writer, cursor string) {
	if cursor != "" {
		_, _ = fmt.Fprintln(w, "There are more; increase --limit to see them.")
	}
}

// listed prints a list of up to limit items: as JSON, or as a table with one row each.
func listed[T any](
	c *cli, cmd *cobra.Command, limit int, head []string, none string,
	fetch func(cl *client.Client, limit int, cursor string) (client.Page[T], error), row func(T) []string,
) error {
	if limit < 1 {
		return usagef(cmd, "--limit must be 1 or more")
	}
	cl, err := c.client(cmd)
	if err != nil {
		return err
	}
	page, err := collect(limit, func(limit int, cursor string) (client.Page[T], error) { return fetch(cl, limit, cursor) })
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(cmd.OutOrStdout(), page)
	}
	if len(page.Items) == 0 {
		p := printer{w: cmd.OutOrStdout()}
		p.linef("%s", none)
		return p.err
	}
	defer hintMore(cmd.ErrOrStderr(), page.NextCursor)
	rows := [][]string{head}
	for _, item := range page.Items {
		rows = append(rows, row(item))
	}
	return printTable(cmd.OutOrStdout(), rows)
}

func (c *cli) lsCommand() *cobra.Command {
	var f client.InstanceFilter
	cmd := &cobra.Command{
		Use:     "ls [ENGINE]",
		Aliases: []string{"list"},
		Short:   "List instances",
		Args:    cobra.MaximumNArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				f.Engine = args[0]
			}
			return c.ls(ctx, cmd, f)
		}),
	}
	cmd.Flags().StringVar(&f.State, "state", "", "list only instances in this state")
	cmd.Flags().StringArrayVar(&f.Labels, "label", nil, "list only instances with this label, `name=value`; repeatable")
	cmd.Flags().BoolVar(&f.Deleted, "deleted", false, "deleted ones, too")
	cmd.Flags().IntVar(&f.Limit, "limit", defaultLimit, "maximum number to list")
	return cmd
}

func (c *cli) ls(ctx context.Context, cmd *cobra.Command, f client.InstanceFilter) error {
	if _, err := parsePairs("--label", f.Labels); err != nil {
		return usagef(cmd, "%v", err)
	}
	none := "No instances. Create one: berth create " + orElse(f.Engine, "redis")
	if f.State != "" || len(f.Labels) > 0 {
		none = "No instances match."
	}
	return listed(c, cmd, f.Limit, []string{"NAME", "ENGINE", "VERSION", "PLAN", "STATE", "ENDPOINT", "AGE", "ID"}, none,
		func(cl *client.Client, limit int, cursor string) (client.Page[client.Instance], error) {
			f.Limit, f.Cursor = limit, cursor
			return cl.Instances(ctx, f)
		},
		func(i client.Instance) []string {
			return []string{i.Name, i.Engine, i.Version, i.Plan, i.State, endpointText(i.Endpoint), age(c.now(), i.CreatedAt), i.ID}
		})
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func (c *cli) enginesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "engines [ENGINE]",
		Short: "List engines, or show the plans and parameters of one",
		Args:  cobra.MaximumNArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			page, err := cl.Engines(ctx)
			if err != nil {
				return err
			}
			if len(args) > 0 {
				return c.showEngine(cmd.OutOrStdout(), page.Items, args[0])
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), page)
			}
			return printEngines(cmd.OutOrStdout(), page.Items)
		}),
	}
}

func printEngines(w io.Writer, engines []client.Engine) error {
	rows := [][]string{{"ENGINE", "VERSIONS", "PLANS", "DESCRIPTION"}}
	for _, e := range engines {
		var versions, plans []string
		for _, v := range e.Versions {
			versions = append(versions, v.Name+star(v.Default))
		}
		for _, p := range e.Plans {
			plans = append(plans, p.Name+star(p.Default))
		}
		rows = append(rows, []string{
			e.Name, strings.Join(versions, ", "), strings.Join(plans, ", "), orElse(e.Description, e.Title),
		})
	}
	if err := printTable(w, rows); err != nil {
		return err
	}
	p := printer{w: w}
	p.linef("\n* = default. Plans and parameters of an engine: berth engines ENGINE")
	return p.err
}

func star(isDefault bool) string {
	if isDefault {
		return "*"
	}
	return ""
}

func (c *cli) jobsCommand() *cobra.Command {
	var f client.JobFilter
	cmd := &cobra.Command{
		Use:   "jobs [JOB_ID]",
		Short: "List jobs, or show a job with its steps",
		Args:  cobra.MaximumNArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return c.showJob(ctx, cmd, args[0])
			}
			return c.jobs(ctx, cmd, f)
		}),
	}
	cmd.Flags().StringVar(&f.InstanceID, "instance", "", "list only jobs of this instance (name or id)")
	cmd.Flags().StringVar(&f.State, "state", "", "list only jobs in this state")
	cmd.Flags().IntVar(&f.Limit, "limit", defaultLimit, "maximum number to list")
	return cmd
}

func (c *cli) jobs(ctx context.Context, cmd *cobra.Command, f client.JobFilter) error {
	return listed(c, cmd, f.Limit, []string{"JOB", "KIND", "ENGINE", "STATE", "PROGRESS", "AGE", "INSTANCE"}, "No jobs.",
		func(cl *client.Client, limit int, cursor string) (client.Page[client.Job], error) {
			// An id needs no look-up, and still finds the jobs of an instance long gone.
			if f.InstanceID != "" && !strings.HasPrefix(f.InstanceID, "ins_") {
				instance, err := cl.Find(ctx, f.InstanceID)
				if err != nil {
					return client.Page[client.Job]{}, err
				}
				f.InstanceID = instance.ID
			}
			f.Limit, f.Cursor = limit, cursor
			return cl.Jobs(ctx, f)
		},
		func(j client.Job) []string {
			return []string{j.ID, j.Kind, j.Engine, j.State, strconv.Itoa(j.Progress) + "%", age(c.now(), j.CreatedAt), orElse(j.InstanceID, j.Subject)}
		})
}
