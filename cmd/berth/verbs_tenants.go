package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

func (c *cli) whoamiCommand() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Show who the server takes you for", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			me, err := cl.Me(ctx)
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), me)
			}
			role := orElse(me.Role, "no member")
			if me.Operator {
				role += ", operator of the platform"
			}
			rows := [][]string{{"Name:", me.Name}, {"Tenant:", orElse(me.TenantID, "none")}, {"Role:", role}}
			if me.UserID != "" {
				rows = append(rows, []string{"User:", me.UserID})
			}
			for _, t := range me.Tenants {
				rows = append(rows, []string{"Member of:", fmt.Sprintf("%s (%s), %s", t.TenantID, t.Name, t.Role)})
			}
			if limits := limitsText(me.Engines, me.Labels); limits != "" {
				rows = append(rows, []string{"Limited to:", limits})
			}
			return printTable(cmd.OutOrStdout(), rows)
		}),
	}
}

// limitsText gives what a key is limited to; empty: nothing.
func limitsText(engines []string, labels map[string]string) string {
	parts := slices.Clone(engines)
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, name+"="+labels[name])
	}
	return strings.Join(parts, ", ")
}

// tenantsCommands gives `berth tenants` and the verbs below it.
func (c *cli) tenantsCommands() (group *cobra.Command, verbs []*cobra.Command) {
	group = &cobra.Command{Use: "tenants", Short: "Manage tenants: teams, each with things of its own", Args: cobra.NoArgs}
	rename := &cobra.Command{
		Use: "rename ID NAME", Short: "Rename a tenant", Args: cobra.ExactArgs(2),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			return c.showTenant(cmd, "Renamed", func(cl *client.Client) (client.Tenant, error) { return cl.RenameTenant(ctx, args[0], args[1]) })
		}),
	}
	add := &cobra.Command{
		Use: "add NAME", Short: "Create a tenant", Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			return c.showTenant(cmd, "Added", func(cl *client.Client) (client.Tenant, error) { return cl.AddTenant(ctx, rand.Text(), args[0]) })
		}),
	}
	remove := &cobra.Command{
		Use: "rm ID", Short: "Delete a tenant that has no instances", Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			return c.said(cmd, cl.DeleteTenant(ctx, args[0]), map[string]string{"id": args[0]}, "Deleted tenant %s.", clean(args[0]))
		}),
	}
	verbs = []*cobra.Command{c.tenantsLsCommand(), add, rename, remove}
	group.AddCommand(verbs...)
	return group, verbs
}

func (c *cli) showTenant(cmd *cobra.Command, done string, do func(*client.Client) (client.Tenant, error)) error {
	cl, err := c.client(cmd)
	if err != nil {
		return err
	}
	t, err := do(cl)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(cmd.OutOrStdout(), t)
	}
	p := printer{w: cmd.OutOrStdout()}
	p.linef("%s %s (%s).", done, clean(t.ID), clean(t.Name))
	if done == "Added" {
		p.linef("Make its first key: berth keys add NAME --role owner --tenant %s", clean(t.ID))
	}
	return p.err
}

func (c *cli) tenantsLsCommand() *cobra.Command {
	limit := defaultLimit
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List tenants", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			return listed(c, cmd, limit, []string{"TENANT", "NAME", "AGE"}, "No tenants.",
				func(cl *client.Client, limit int, cursor string) (client.Page[client.Tenant], error) {
					return cl.Tenants(ctx, limit, cursor)
				},
				func(t client.Tenant) []string { return []string{t.ID, t.Name, age(c.now(), t.CreatedAt)} })
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", defaultLimit, "maximum number to list")
	return cmd
}

// keysCommands gives `berth keys` and the verbs below it.
func (c *cli) keysCommands() (group *cobra.Command, verbs []*cobra.Command) {
	group = &cobra.Command{Use: "keys", Short: "Manage the API keys of a tenant, and rotate the master key", Args: cobra.NoArgs}
	rm := &cobra.Command{
		Use: "rm ID", Aliases: []string{"revoke"}, Short: "Revoke an API key at once", Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			if err := cl.RevokeKey(ctx, args[0]); err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), map[string]string{"id": args[0]})
			}
			p := printer{w: cmd.OutOrStdout()}
			p.linef("Revoked %s.", clean(args[0]))
			return p.err
		}),
	}
	verbs = []*cobra.Command{c.keysLsCommand(), c.keysAddCommand(), rm}
	for _, v := range verbs {
		v.GroupID = apiKeyGroup.ID
	}
	group.AddGroup(apiKeyGroup)
	group.AddCommand(verbs...)
	return group, verbs
}

func (c *cli) keysLsCommand() *cobra.Command {
	limit := defaultLimit
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the API keys of the tenant", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			return listed(c, cmd, limit, []string{"KEY", "NAME", "ROLE", "LIMITED TO", "ENDS WITH", "AGE", "EXPIRES", "LAST USED"}, "No API keys. Add one: berth keys add NAME --role member",
				func(cl *client.Client, limit int, cursor string) (client.Page[client.Key], error) {
					return cl.Keys(ctx, limit, cursor)
				},
				func(k client.Key) []string {
					expires, used := "never", "never"
					if !k.ExpiresAt.IsZero() {
						expires = k.ExpiresAt.UTC().Format(time.RFC3339)
					}
					if !k.LastUsedAt.IsZero() {
						used = age(c.now(), k.LastUsedAt) + " ago"
					}
					return []string{k.ID, k.Name, k.Role, orElse(limitsText(k.Engines, k.Labels), "-"), k.Hint, age(c.now(), k.CreatedAt), expires, used}
				})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", defaultLimit, "maximum number to list")
	return cmd
}

func (c *cli) keysAddCommand() *cobra.Command {
	var in client.KeyRequest
	var labels []string
	var lasts time.Duration
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Create an API key", Args: cobra.ExactArgs(1),
		Example: "  berth keys add ci --role member --engine redis --expires 720h",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			var err error
			if in.Labels, err = parsePairs("--label", labels); err != nil {
				return usagef(cmd, "%v", err)
			}
			if lasts < 0 {
				return usagef(cmd, "--expires must not be negative")
			}
			if in.Name = args[0]; lasts > 0 {
				in.ExpiresAt = c.now().Add(lasts).UTC()
			}
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			k, err := cl.AddKey(ctx, rand.Text(), in)
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), k)
			}
			p := printer{w: cmd.OutOrStdout()}
			p.linef("Added %s to tenant %s.", clean(k.ID), clean(k.TenantID))
			p.linef("The key (shown only once): %s", clean(k.Key))
			p.linef("Use it: export BERTH_API_KEY=…")
			return p.err
		}),
	}
	cmd.Flags().StringVar(&in.Role, "role", "member", "what the key may do: viewer, member, owner, or operator for the platform")
	cmd.Flags().StringArrayVar(&in.Engines, "engine", nil, "limit it to instances of this `engine`; repeatable")
	cmd.Flags().StringArrayVar(&labels, "label", nil, "limit it to instances with this label, `name=value`; repeatable")
	cmd.Flags().DurationVar(&lasts, "expires", 0, "how long it is good for, for example 720h; 0: until it is revoked")
	return cmd
}
