package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

const userPrefix = "usr_"

// usersCommands gives `berth users` and the verbs below it.
func (c *cli) usersCommands() (group *cobra.Command, verbs []*cobra.Command) {
	group = &cobra.Command{Use: "users", Short: "Manage users, who log in with a password (for operators)", Args: cobra.NoArgs}
	verbs = []*cobra.Command{
		c.usersLsCommand(), c.usersAddCommand(), c.usersSwitchCommand("disable", "Disable a user: all their sessions end at once", true),
		c.usersSwitchCommand("enable", "Enable a user again", false), c.usersResetCommand(),
	}
	group.AddCommand(verbs...)
	return group, verbs
}

func (c *cli) usersLsCommand() *cobra.Command {
	limit := defaultLimit
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List users", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			return listed(c, cmd, limit, []string{"USER", "LOGIN", "NAME", "OPERATOR", "STATE", "AGE"}, "No users. Add one: berth users add LOGIN",
				func(cl *client.Client, limit int, cursor string) (client.Page[client.User], error) {
					return cl.Users(ctx, limit, cursor)
				},
				func(u client.User) []string {
					return []string{u.ID, u.Login, orElse(u.Name, "-"), yesOrNo(u.Operator), stateOf(u.Disabled), age(c.now(), u.CreatedAt)}
				})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", defaultLimit, "maximum number to list")
	return cmd
}

func yesOrNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func stateOf(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "active"
}

func (c *cli) usersAddCommand() *cobra.Command {
	var in client.UserRequest
	ask := false
	cmd := &cobra.Command{
		Use: "add LOGIN", Short: "Create a user, and a token to set the password with", Args: cobra.ExactArgs(1),
		Example: "  berth users add alice@example.com --member-of ten_… --role owner",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			if in.Login = args[0]; in.TenantID == "" {
				in.Role = ""
			}
			if ask {
				if in.Password, err = c.readNewPassword(ctx, cmd); err != nil {
					return err
				}
			}
			u, err := cl.AddUser(ctx, in)
			if err != nil || ask {
				return c.said(cmd, err, u, "Added %s (%s).", clean(u.Login), clean(u.ID))
			}
			reset, err := cl.ResetPassword(ctx, rand.Text(), map[string]string{"user_id": u.ID})
			if err != nil {
				return fmt.Errorf("%s was added, but no token was made; berth users reset %s: %w", u.Login, u.ID, err)
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), map[string]any{"user": u, "reset": reset})
			}
			p := printer{w: cmd.OutOrStdout()}
			p.linef("Added %s (%s).", clean(u.Login), clean(u.ID))
			return c.showReset(p, reset)
		}),
	}
	cmd.Flags().StringVar(&in.Name, "name", "", "name for people")
	cmd.Flags().BoolVar(&in.Operator, "operator", false, "the user runs the platform")
	cmd.Flags().StringVar(&in.TenantID, "member-of", "", "`tenant` to become a member of")
	cmd.Flags().StringVar(&in.Role, "role", "member", "role in that tenant: viewer, member or owner")
	cmd.Flags().BoolVar(&ask, "password", false, "ask for the password instead of making a token")
	return cmd
}

func (c *cli) showReset(p printer, reset client.PasswordReset) error {
	p.linef("The token to set the password with (shown only once, until %s): %s", reset.ExpiresAt.UTC().Format(time.RFC3339), clean(reset.Token))
	p.linef("The user runs: berth password --reset")
	return p.err
}

// findUser returns the id of a user given by id or login name.
func findUser(login string, fetch func(cursor string) (items map[string]string, next string, err error)) (string, error) {
	if strings.HasPrefix(login, userPrefix) {
		return login, nil
	}
	for cursor := ""; ; {
		items, next, err := fetch(cursor)
		if err != nil {
			return "", err
		}
		if which, ok := items[strings.ToLower(login)]; ok {
			return which, nil
		}
		if cursor = next; next == "" {
			return "", fmt.Errorf("there is no user %s", clean(login))
		}
	}
}

// pageOfAll is how many are asked for at once to find one.
const pageOfAll = 200

func (c *cli) user(ctx context.Context, cl *client.Client, login string) (string, error) {
	return findUser(login, func(cursor string) (map[string]string, string, error) {
		page, err := cl.Users(ctx, pageOfAll, cursor)
		items := map[string]string{}
		for _, u := range page.Items {
			items[u.Login] = u.ID
		}
		return items, page.NextCursor, err
	})
}

func (c *cli) usersSwitchCommand(use, short string, disabled bool) *cobra.Command {
	return &cobra.Command{
		Use: use + " USER", Short: short, Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			which, err := c.user(ctx, cl, args[0])
			if err != nil {
				return err
			}
			u, err := cl.ChangeUser(ctx, which, client.UserChange{Disabled: &disabled})
			return c.said(cmd, err, u, "%s is %s.", clean(u.Login), stateOf(u.Disabled))
		}),
	}
}

func (c *cli) usersResetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "reset USER", Short: "Make a token by which a user sets a new password", Args: cobra.ExactArgs(1),
		Long: "Make a token by which a user sets a new password. Operators may for anybody, owners for members whose account their tenant made and no other one opens.",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			user := map[string]string{"login": args[0]}
			if strings.HasPrefix(args[0], userPrefix) {
				user = map[string]string{"user_id": args[0]}
			}
			reset, err := cl.ResetPassword(ctx, rand.Text(), user)
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), reset)
			}
			return c.showReset(printer{w: cmd.OutOrStdout()}, reset)
		}),
	}
}
