package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/tenant"
)

func (c *cli) usageCommand() *cobra.Command {
	return &cobra.Command{
		Use: "usage", Short: "Show what the tenant uses of its quota", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			u, err := cl.Usage(ctx)
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), u)
			}
			uses := map[tenant.Measure]client.Use{
				tenant.Instances: u.Instances, tenant.CPU: u.CPU, tenant.Memory: u.Memory, tenant.Disk: u.Disk, tenant.Ports: u.Ports, tenant.JobsPerHour: u.JobsPerHour,
			}
			rows := [][]string{{"WHAT", "USED", "LIMIT"}}
			for _, m := range tenant.Measures() {
				limit := "-"
				if l := uses[m].Limit; l != nil {
					limit = amountText(m, *l)
				}
				rows = append(rows, []string{string(m), amountText(m, uses[m].Used), limit})
			}
			return printTable(cmd.OutOrStdout(), rows)
		}),
	}
}

// amountText gives an amount as the API gives it, for people.
func amountText(m tenant.Measure, n float64) string {
	if n > 0 && (m == tenant.Memory || m == tenant.Disk) {
		return bytesText(int64(n))
	}
	return strconv.FormatFloat(n, 'g', -1, 64)
}

func (c *cli) quotaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "quota TENANT [MEASURE=LIMIT …]", Short: "Show the limits that were set for a tenant, or set some (operators)",
		Example: "  berth quota ten_01J9ZQ instances=20 cpu=8 memory=16gb\n  berth quota ten_01J9ZQ cpu=-1 memory=default    # no limit; the server's default",
		Args:    cobra.MinimumNArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			changes, err := parsePairs("a limit", args[1:])
			if err != nil {
				return usagef(cmd, "%v", err)
			}
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			q, err := cl.Quota(ctx, args[0])
			if err == nil && len(changes) > 0 {
				q, err = cl.SetQuota(ctx, args[0], changed(q, changes))
			}
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), q)
			}
			rows := [][]string{{"WHAT", "LIMIT"}}
			for _, m := range tenant.Measures() {
				text := "default"
				if limit, ok := q[string(m)].(float64); ok {
					if text = amountText(m, limit); limit == tenant.Unlimited {
						text = "none"
					}
				}
				rows = append(rows, []string{string(m), text})
			}
			return printTable(cmd.OutOrStdout(), rows)
		}),
	}
}

// changed gives the limits with the changes; what is no number the server judges.
func changed(q client.Quota, changes map[string]string) client.Quota {
	out := client.Quota{}
	for name, limit := range q {
		out[name] = limit
	}
	for name, text := range changes {
		if text == "default" {
			delete(out, name)
			continue
		}
		out[name] = text
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			out[name] = n
		}
	}
	return out
}
