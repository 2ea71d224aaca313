package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/sender"
)

const (
	defaultURL     = "http://127.0.0.1:8080"
	defaultDataDir = ".berth"
	outputTable    = "table"
	outputJSON     = "json"
)

// cli is what the client verbs share: the flags that all of them have, and the
// world around them, which tests replace.
type cli struct {
	url     string
	caFile  string
	tenant  string
	context string
	output  string

	lines *bufio.Reader // of the standard input, once something has read from it

	getenv   func(string) string
	now      func() time.Time
	terminal func(io.Writer) (terminalSize, bool)
	connect  func(client.Config) (*client.Client, error)
}

// verb is the body of a client verb.
type verb func(ctx context.Context, cmd *cobra.Command, args []string) error

// clientCommands gives the verbs for people. Each speaks to a server through the
// public API and needs nothing else of this program.
func clientCommands() []*cobra.Command {
	c := &cli{getenv: os.Getenv, now: time.Now, terminal: terminalOf, connect: client.New}
	return c.commands()
}

func (c *cli) commands() []*cobra.Command {
	commands := []*cobra.Command{
		c.enginesCommand(), c.createCommand(), c.lsCommand(), c.getCommand(),
		c.configCommand(), c.rmCommand(), c.jobsCommand(), c.waitCommand(), c.eventsCommand(),
		c.whoamiCommand(), c.usageCommand(), c.quotaCommand(), c.loginCommand(), c.logoutCommand(), c.signUpCommand(), c.passwordCommand(), c.inviteCommand(), c.joinCommand(),
	}
	webhooks, ofWebhooks := c.webhooksCommands()
	tenants, ofTenants := c.tenantsCommands()
	keys, ofKeys := c.keysCommands()
	users, ofUsers := c.usersCommands()
	members, ofMembers := c.membersCommands()
	invitations, ofInvitations := c.invitationsCommands()
	kept, ofContexts := c.contextCommands()
	log, ofLog := c.auditCommands()
	grants, ofGrants := c.grantsCommands()
	hosts, ofHosts := c.hostsCommands()
	commands = append(commands, c.powerCommands()...)
	for _, cmd := range slices.Concat(commands, ofWebhooks, ofTenants, ofKeys, ofUsers, ofMembers, ofInvitations, ofContexts, ofLog, ofGrants, ofHosts) {
		url := c.getenv("BERTH_URL")
		if url == "" {
			url = defaultURL
		}
		cmd.Flags().StringVar(&c.url, "url", url, "URL of the API (BERTH_URL)")
		cmd.Flags().StringVar(&c.caFile, "ca-file", c.getenv("BERTH_CA_FILE"), "PEM file with authorities to trust the server's certificate by, besides the system's (BERTH_CA_FILE)")
		cmd.Flags().StringVar(&c.tenant, "tenant", c.getenv("BERTH_TENANT"), "id of the tenant to act in, for operators and for members of several (BERTH_TENANT)")
		cmd.Flags().StringVar(&c.context, "context", c.getenv("BERTH_CONTEXT"), "context to use instead of the current one (BERTH_CONTEXT)")
		if cmd.Flags().Lookup("output") == nil { // else it names the file that the verb writes
			cmd.Flags().StringVarP(&c.output, "output", "o", outputTable, "output format: table, or json for scripts")
		}
		cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef(cmd, "%v", err) })
		cmd.Args = usageArgs(cmd.Args)
		// reportError says what went wrong, in one place and in our words.
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
	}
	return append(commands, webhooks, tenants, keys, users, members, invitations, kept, log, grants, hosts)
}

// runs turns a verb into what cobra calls. An interrupt cancels the verb's context,
// so that it can put the terminal in order and say how to go on.
//
//nolint:contextcheck // the context is cobra's, and comes with the command
func (c *cli) runs(v verb) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if c.output != outputTable && c.output != outputJSON {
			return usagef(cmd, "--output is %s or %s, not %q", outputTable, outputJSON, c.output)
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return v(ctx, cmd, args)
	}
}

// client connects with the address and the key of this call.
func (c *cli) client(cmd *cobra.Command) (*client.Client, error) {
	t, err := c.target(cmd)
	if err != nil {
		return nil, err
	}
	return c.clientOf(cmd, t)
}

func (c *cli) clientOf(cmd *cobra.Command, t target) (*client.Client, error) {
	cfg := client.Config{URL: t.url, APIKey: t.key, Tenant: t.tenant}
	if t.caFile != "" {
		var err error
		if cfg.Roots, err = sender.Roots(t.caFile); err != nil {
			return nil, usagef(cmd, "BERTH_CA_FILE: %v", err)
		}
	}
	cl, err := c.connect(cfg)
	if err != nil {
		return nil, usagef(cmd, "%v", err)
	}
	return cl, nil
}

func (c *cli) json() bool { return c.output == outputJSON }
