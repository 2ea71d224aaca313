package main

import (
	"cmp"
	"context"
	"maps"
	"net/url"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/contexts"
)

func (c *cli) loginCommand() *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use: "login", Short: "Log in, and keep the session as the current context", Args: cobra.NoArgs,
		Long: "Log in, and keep the session as the current context. The password is asked for at a terminal, and is else the first line of the standard input.",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			t := c.loginTarget(cmd)
			cl, err := c.clientOf(cmd, t)
			if err != nil {
				return err
			}
			if user, err = c.askUser(cmd, user); err != nil {
				return err
			}
			password, err := c.readSecret(ctx, cmd, "Password")
			if err != nil {
				return err
			}
			s, err := cl.LogIn(ctx, user, password, c.tenant)
			if err != nil {
				return err
			}
			kept := contexts.Context{URL: t.url, Token: s.Token, User: user}
			if t.caFile != "" {
				if kept.CAFile, err = filepath.Abs(t.caFile); err != nil {
					return err
				}
			}
			return c.keep(cmd, cmp.Or(c.context, user+"@"+hostOf(t.url)), kept, s)
		}),
	}
	cmd.Flags().StringVar(&user, "user", "", "login name")
	return cmd
}

func (c *cli) askUser(cmd *cobra.Command, user string) (string, error) {
	if user != "" {
		return user, nil
	}
	if _, typed := terminalIn(cmd); !typed {
		return "", usagef(cmd, "--user is required where the standard input is no terminal")
	}
	return c.readLine(cmd, "Login name")
}

// keep writes a session as the current context.
func (c *cli) keep(cmd *cobra.Command, name string, kept contexts.Context, s client.Session) error {
	err := c.changeContexts(func(f *contexts.File) error {
		f.Current, f.Contexts[name] = name, kept
		return nil
	})
	if err != nil {
		return err
	}
	s.Token = "" // it is kept
	if c.json() {
		return printJSON(cmd.OutOrStdout(), s)
	}
	p := printer{w: cmd.OutOrStdout()}
	p.linef("Logged in as %s, in tenant %s. The context is %s.", clean(kept.User), clean(orElse(s.TenantID, "none")), clean(name))
	return p.err
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Host
}

func (c *cli) logoutCommand() *cobra.Command {
	everywhere := false
	cmd := &cobra.Command{
		Use: "logout", Short: "End the session of the context", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			t, err := c.target(cmd)
			if err != nil {
				return err
			}
			cl, err := c.clientOf(cmd, t)
			if err != nil {
				return err
			}
			err = cl.LogOut(ctx, everywhere)
			if client.HasCode(err, client.CodeUnauthorized) && !everywhere {
				err = nil // it has ended before
			}
			if err != nil {
				return err
			}
			if t.context != "" {
				err = c.changeContexts(func(f *contexts.File) error {
					kept := f.Contexts[t.context]
					kept.Token = ""
					f.Contexts[t.context] = kept
					return nil
				})
			}
			return c.said(cmd, err, map[string]bool{"everywhere": everywhere}, "Logged out.")
		}),
	}
	cmd.Flags().BoolVar(&everywhere, "everywhere", false, "end all sessions of the user")
	return cmd
}

// said prints what was done, in words or as JSON.
func (c *cli) said(cmd *cobra.Command, err error, json any, format string, args ...any) error {
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(cmd.OutOrStdout(), json)
	}
	p := printer{w: cmd.OutOrStdout()}
	p.linef(format, args...)
	return p.err
}

func (c *cli) signUpCommand() *cobra.Command {
	var in client.UserRequest
	invited := false
	cmd := &cobra.Command{
		Use: "signup", Short: "Make an account, where the server lets you", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			cl, err := c.clientOf(cmd, c.loginTarget(cmd))
			if err != nil {
				return err
			}
			if in.Login, err = c.askUser(cmd, in.Login); err != nil {
				return err
			}
			if invited {
				if in.Invitation, err = c.readSecret(ctx, cmd, "Invitation"); err != nil {
					return err
				}
			}
			if in.Password, err = c.readNewPassword(ctx, cmd); err != nil {
				return err
			}
			u, err := cl.AddUser(ctx, in)
			return c.said(cmd, err, u, "Made the account %s. Log in: berth login --user %s", clean(u.Login), clean(u.Login))
		}),
	}
	cmd.Flags().StringVar(&in.Login, "user", "", "login name")
	cmd.Flags().StringVar(&in.Name, "name", "", "your name, for people")
	cmd.Flags().BoolVar(&invited, "invited", false, "ask for the token of an invitation first")
	return cmd
}

func (c *cli) passwordCommand() *cobra.Command {
	reset := false
	cmd := &cobra.Command{
		Use: "password", Short: "Change your password: all your sessions end but a new one", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			if reset {
				return c.useReset(ctx, cmd)
			}
			t, err := c.target(cmd)
			if err != nil {
				return err
			}
			cl, err := c.clientOf(cmd, t)
			if err != nil {
				return err
			}
			old, err := c.readSecret(ctx, cmd, "Password")
			if err != nil {
				return err
			}
			fresh, err := c.readNewPassword(ctx, cmd)
			if err != nil {
				return err
			}
			s, err := cl.ChangePassword(ctx, old, fresh)
			if err != nil {
				return err
			}
			if t.context == "" {
				return c.said(cmd, nil, s, "The password is changed. The token of the new session (shown only once): %s", clean(s.Token))
			}
			err = c.changeContexts(func(f *contexts.File) error {
				kept := f.Contexts[t.context]
				kept.Token = s.Token
				f.Contexts[t.context] = kept
				return nil
			})
			s.Token = ""
			return c.said(cmd, err, s, "The password is changed. All other sessions have ended.")
		}),
	}
	cmd.Flags().BoolVar(&reset, "reset", false, "set it with a token of `berth users reset`, which is asked for first")
	return cmd
}

func (c *cli) useReset(ctx context.Context, cmd *cobra.Command) error {
	cl, err := c.clientOf(cmd, c.loginTarget(cmd))
	if err != nil {
		return err
	}
	token, err := c.readSecret(ctx, cmd, "Token")
	if err != nil {
		return err
	}
	password, err := c.readNewPassword(ctx, cmd)
	if err != nil {
		return err
	}
	return c.said(cmd, cl.UseReset(ctx, token, password), map[string]string{}, "The password is set. Log in: berth login")
}

// contextCommands gives `berth context` and the verbs below it.
func (c *cli) contextCommands() (group *cobra.Command, verbs []*cobra.Command) {
	group = &cobra.Command{Use: "context", Short: "Manage contexts: servers that you have logged in to", Args: cobra.NoArgs}
	ls := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the contexts", Args: cobra.NoArgs,
		RunE: c.runs(func(_ context.Context, cmd *cobra.Command, _ []string) error { return c.listContexts(cmd) }),
	}
	use := &cobra.Command{
		Use: "use NAME", Short: "Make a context the current one", Args: cobra.ExactArgs(1),
		Long: "Make a context the current one. With --tenant its verbs act in that tenant from now on.",
		RunE: c.runs(func(_ context.Context, cmd *cobra.Command, args []string) error {
			err := c.changeContexts(func(f *contexts.File) error {
				kept, known := f.Contexts[args[0]]
				if !known {
					return usagef(cmd, "there is no context %q; `berth context ls` lists them", args[0])
				}
				if cmd.Flags().Changed("tenant") {
					kept.Tenant = c.tenant
				}
				f.Current, f.Contexts[args[0]] = args[0], kept
				return nil
			})
			return c.said(cmd, err, map[string]string{"current": args[0]}, "The context is %s.", clean(args[0]))
		}),
	}
	rm := &cobra.Command{
		Use: "rm NAME", Short: "Forget a context; its session goes on until it ends: `berth logout` ends it", Args: cobra.ExactArgs(1),
		RunE: c.runs(func(_ context.Context, cmd *cobra.Command, args []string) error {
			err := c.changeContexts(func(f *contexts.File) error {
				if _, known := f.Contexts[args[0]]; !known {
					return usagef(cmd, "there is no context %q; `berth context ls` lists them", args[0])
				}
				delete(f.Contexts, args[0])
				if f.Current == args[0] {
					f.Current = ""
				}
				return nil
			})
			return c.said(cmd, err, map[string]string{"removed": args[0]}, "Removed %s.", clean(args[0]))
		}),
	}
	verbs = []*cobra.Command{ls, use, rm}
	group.AddCommand(verbs...)
	return group, verbs
}

func (c *cli) listContexts(cmd *cobra.Command) error {
	file, err := contexts.Load(contexts.Path(c.getenv))
	if err != nil {
		return err
	}
	rows := [][]string{{"", "CONTEXT", "URL", "USER", "TENANT", "SESSION"}}
	type shown struct { // without the token
		Name, URL, User, Tenant string
		Current, LoggedIn       bool
	}
	list := []shown{}
	for _, name := range slices.Sorted(maps.Keys(file.Contexts)) {
		kept := file.Contexts[name]
		mark, session := "", "ended"
		if name == file.Current {
			mark = "*"
		}
		if kept.Token != "" {
			session = "kept"
		}
		rows = append(rows, []string{mark, name, kept.URL, orElse(kept.User, "-"), orElse(kept.Tenant, "-"), session})
		list = append(list, shown{name, kept.URL, kept.User, kept.Tenant, name == file.Current, kept.Token != ""})
	}
	if c.json() {
		return printJSON(cmd.OutOrStdout(), list)
	}
	if len(list) == 0 {
		return c.said(cmd, nil, nil, "No contexts. Make one: berth login --url URL")
	}
	return printTable(cmd.OutOrStdout(), rows)
}
