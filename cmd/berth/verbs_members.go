package main

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

// inTenant connects, and returns the tenant that the call is about.
func (c *cli) inTenant(ctx context.Context, cmd *cobra.Command) (*client.Client, string, error) {
	cl, err := c.client(cmd)
	if err != nil || c.tenant != "" {
		return cl, c.tenant, err
	}
	me, err := cl.Me(ctx)
	if err == nil && me.TenantID == "" {
		err = usagef(cmd, "you are a member of no tenant; name one with --tenant")
	}
	return cl, me.TenantID, err
}

// membersCommands gives `berth members` and the verbs below it.
func (c *cli) membersCommands() (group *cobra.Command, verbs []*cobra.Command) {
	group = &cobra.Command{Use: "members", Short: "Manage the members of a tenant", Args: cobra.NoArgs}
	verbs = []*cobra.Command{c.membersLsCommand(), c.membersAddCommand(), c.membersRoleCommand(), c.membersRmCommand()}
	group.AddCommand(verbs...)
	return group, verbs
}

func (c *cli) membersLsCommand() *cobra.Command {
	limit := defaultLimit
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the members of the tenant", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			_, tenant, err := c.inTenant(ctx, cmd)
			if err != nil {
				return err
			}
			return listed(c, cmd, limit, []string{"USER", "LOGIN", "NAME", "ROLE", "STATE", "SINCE"}, "No members. Invite somebody: berth invite --role member",
				func(cl *client.Client, limit int, cursor string) (client.Page[client.Member], error) {
					return cl.Members(ctx, tenant, limit, cursor)
				},
				func(m client.Member) []string {
					return []string{m.UserID, m.Login, orElse(m.Name, "-"), m.Role, stateOf(m.Disabled), age(c.now(), m.CreatedAt)}
				})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", defaultLimit, "maximum number to list")
	return cmd
}

func (c *cli) membersAddCommand() *cobra.Command {
	role := ""
	cmd := &cobra.Command{
		Use: "add USER", Short: "Make a user a member: by id, or for operators by login name", Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, tenant, err := c.inTenant(ctx, cmd)
			if err != nil {
				return err
			}
			in := map[string]string{"role": role, "login": args[0]}
			if strings.HasPrefix(args[0], userPrefix) {
				in = map[string]string{"role": role, "user_id": args[0]}
			}
			m, err := cl.AddMember(ctx, tenant, in)
			return c.said(cmd, err, m, "%s is a member of %s: %s.", clean(m.Login), clean(m.TenantID), clean(m.Role))
		}),
	}
	cmd.Flags().StringVar(&role, "role", "member", "viewer, member or owner")
	return cmd
}

// member returns the id of a member given by id or login name.
func (c *cli) member(ctx context.Context, cl *client.Client, tenant, login string) (string, error) {
	return findUser(login, func(cursor string) (map[string]string, string, error) {
		page, err := cl.Members(ctx, tenant, pageOfAll, cursor)
		items := map[string]string{}
		for _, m := range page.Items {
			items[m.Login] = m.UserID
		}
		return items, page.NextCursor, err
	})
}

func (c *cli) membersRoleCommand() *cobra.Command {
	return &cobra.Command{
		Use: "role USER ROLE", Short: "Give a member another role: viewer, member or owner", Args: cobra.ExactArgs(2),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, tenant, err := c.inTenant(ctx, cmd)
			if err != nil {
				return err
			}
			which, err := c.member(ctx, cl, tenant, args[0])
			if err != nil {
				return err
			}
			m, err := cl.ChangeMember(ctx, tenant, which, args[1])
			return c.said(cmd, err, m, "%s is a member of %s: %s.", clean(m.Login), clean(m.TenantID), clean(m.Role))
		}),
	}
}

func (c *cli) membersRmCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm USER", Short: "Remove a member, or yourself", Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, tenant, err := c.inTenant(ctx, cmd)
			if err != nil {
				return err
			}
			which, err := c.member(ctx, cl, tenant, args[0])
			if err == nil {
				err = cl.RemoveMember(ctx, tenant, which)
			}
			return c.said(cmd, err, map[string]string{"user_id": which}, "Removed %s from %s.", clean(args[0]), clean(tenant))
		}),
	}
}

func (c *cli) inviteCommand() *cobra.Command {
	role := ""
	cmd := &cobra.Command{
		Use: "invite", Short: "Create an invitation to the tenant, which one person can use within a week", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			cl, tenant, err := c.inTenant(ctx, cmd)
			if err != nil {
				return err
			}
			inv, err := cl.Invite(ctx, rand.Text(), tenant, role)
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), inv)
			}
			p := printer{w: cmd.OutOrStdout()}
			p.linef("Made %s: %s of tenant %s, until %s.", clean(inv.ID), clean(inv.Role), clean(inv.TenantID), inv.ExpiresAt.UTC().Format(time.RFC3339))
			p.linef("The token (shown only once): %s", clean(inv.Token))
			p.linef("Whoever gets it runs: berth join, or without an account: berth signup --invited")
			return p.err
		}),
	}
	cmd.Flags().StringVar(&role, "role", "member", "viewer, member or owner")
	return cmd
}

func (c *cli) joinCommand() *cobra.Command {
	return &cobra.Command{
		Use: "join", Short: "Become a member of a tenant by an invitation, whose token is asked for", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			token, err := c.readSecret(ctx, cmd, "Invitation")
			if err != nil {
				return err
			}
			m, err := cl.Join(ctx, token)
			return c.said(cmd, err, m, "%s is a member of %s: %s.", clean(m.Login), clean(m.TenantID), clean(m.Role))
		}),
	}
}

// invitationsCommands gives `berth invitations` and the verbs below it.
func (c *cli) invitationsCommands() (group *cobra.Command, verbs []*cobra.Command) {
	group = &cobra.Command{Use: "invitations", Short: "Manage open invitations to the tenant", Args: cobra.NoArgs}
	limit := defaultLimit
	ls := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List open invitations", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			_, tenant, err := c.inTenant(ctx, cmd)
			if err != nil {
				return err
			}
			return listed(c, cmd, limit, []string{"INVITATION", "ROLE", "BY", "AGE", "EXPIRES"}, "No open invitations. Make one: berth invite --role member",
				func(cl *client.Client, limit int, cursor string) (client.Page[client.Invitation], error) {
					return cl.Invitations(ctx, tenant, limit, cursor)
				},
				func(i client.Invitation) []string {
					return []string{i.ID, i.Role, i.CreatedBy, age(c.now(), i.CreatedAt), i.ExpiresAt.UTC().Format(time.RFC3339)}
				})
		}),
	}
	ls.Flags().IntVar(&limit, "limit", defaultLimit, "maximum number to list")
	rm := &cobra.Command{
		Use: "rm ID", Aliases: []string{"withdraw"}, Short: "Withdraw an invitation", Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, tenant, err := c.inTenant(ctx, cmd)
			if err == nil {
				err = cl.Withdraw(ctx, tenant, args[0])
			}
			return c.said(cmd, err, map[string]string{"id": args[0]}, "Withdrew %s.", clean(args[0]))
		}),
	}
	verbs = []*cobra.Command{ls, rm}
	group.AddCommand(verbs...)
	return group, verbs
}
