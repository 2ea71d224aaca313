package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

// grantsCommands gives `berth grants` and the verbs below it.
func (c *cli) grantsCommands() (group *cobra.Command, verbs []*cobra.Command) {
	group = &cobra.Command{Use: "grants", Short: "Manage operators' grants to read a tenant's credentials", Args: cobra.NoArgs}
	verbs = []*cobra.Command{c.grantsLsCommand(), c.grantsAddCommand(), c.grantsEndCommand()}
	group.AddCommand(verbs...)
	return group, verbs
}

func (c *cli) grantsLsCommand() *cobra.Command {
	limit := defaultLimit
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the grants, newest first", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			_, tenant, err := c.inTenant(ctx, cmd)
			if err != nil {
				return err
			}
			return listed(c, cmd, limit, []string{"ID", "BY", "STATE", "EXPIRES", "REASON"}, "No grants.",
				func(cl *client.Client, limit int, cursor string) (client.Page[client.Grant], error) {
					return cl.Grants(ctx, tenant, limit, cursor)
				},
				func(g client.Grant) []string {
					state := "active"
					if !g.EndedAt.IsZero() {
						state = "ended"
					} else if !c.now().Before(g.ExpiresAt) {
						state = "expired"
					}
					return []string{g.ID, clean(g.By), state, g.ExpiresAt.UTC().Format(time.RFC3339), clean(g.Reason)}
				})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", defaultLimit, "maximum number to list")
	return cmd
}

func (c *cli) grantsAddCommand() *cobra.Command {
	var reason, lasts string
	cmd := &cobra.Command{
		Use: "add", Short: "Let yourself, an operator, read the credentials of the tenant for some time", Args: cobra.NoArgs,
		Example: "  berth grants add --tenant ten_01J9ZQ --reason 'ticket 4711' --for 30m",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			cl, tenant, err := c.inTenant(ctx, cmd)
			if err != nil {
				return err
			}
			g, err := cl.AddGrant(ctx, tenant, reason, lasts)
			return c.said(cmd, err, g, "Until %s you can read the credentials of tenant %s (grant %s). Its owners see that.", g.ExpiresAt.UTC().Format(time.RFC3339), clean(g.TenantID), clean(g.ID))
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why it is needed, for the tenant's owners")
	cmd.Flags().StringVar(&lasts, "for", "", "how `long`, from 1m to 24h (default 1h)")
	return cmd
}

func (c *cli) grantsEndCommand() *cobra.Command {
	return &cobra.Command{
		Use: "end GRANT", Short: "End a grant before its time", Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, tenant, err := c.inTenant(ctx, cmd)
			if err != nil {
				return err
			}
			return c.said(cmd, cl.EndGrant(ctx, tenant, args[0]), map[string]string{"id": args[0]}, "Grant %s has ended.", clean(args[0]))
		}),
	}
}
