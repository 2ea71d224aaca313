package main

import (
	"context"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

// swarmsCommands gives `berth hosts swarms` and the verbs below it.
func (c *cli) swarmsCommands() (group *cobra.Command, verbs []*cobra.Command) {
	group = &cobra.Command{
		Use: "swarms", Short: "Manage the Docker Swarms whose nodes become hosts by themselves", Args: cobra.NoArgs,
	}
	verbs = []*cobra.Command{c.swarmsLsCommand(), c.swarmsShowCommand(), c.swarmsAddCommand(), c.swarmsRmCommand()}
	group.AddCommand(verbs...)
	return group, verbs
}

func (c *cli) swarmsLsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List swarms", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			page, err := cl.Swarms(ctx)
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), page)
			}
			if len(page.Items) == 0 {
				return c.said(cmd, nil, nil, "No swarms. Add one: berth hosts swarms add NAME swarm://MANAGER:2376 --region REGION --zone ZONE")
			}
			rows := [][]string{{"NAME", "REGION", "ZONE", "NODES", "HOSTS", "SEEN", "ENDPOINT", "ERROR"}}
			for _, s := range page.Items {
				rows = append(rows, []string{
					s.Name, s.Region, s.Zone, strconv.Itoa(len(s.Nodes)), strconv.Itoa(hostsOf(s)), age(c.now(), s.SeenAt), s.Endpoint, s.Error,
				})
			}
			return printTable(cmd.OutOrStdout(), rows)
		}),
	}
}

// hostsOf counts the nodes that are hosts.
func hostsOf(s client.Swarm) (n int) {
	for _, node := range s.Nodes {
		if node.Host != "" {
			n++
		}
	}
	return n
}

func (c *cli) swarmsShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Aliases: []string{"get"}, Short: "Show a swarm, its nodes, and why those that are no hosts are none",
		Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			s, err := cl.Swarm(ctx, args[0])
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), s)
			}
			return showSwarm(cmd.OutOrStdout(), s, c.now())
		}),
	}
}

func showSwarm(w io.Writer, s client.Swarm, now time.Time) error {
	facts := []fact{
		{"Name", s.Name}, {"Endpoint", s.Endpoint}, {"Place", placeText(s.Region, s.Zone)}, {"Seen", stamp(s.SeenAt, now)},
		{"Error", s.Error}, {"Created", stamp(s.CreatedAt, now)},
	}
	if s.Reserved {
		facts = append(facts, fact{"Reserved", "its nodes become reserved hosts"})
	}
	if err := printFacts(w, facts); err != nil || len(s.Nodes) == 0 {
		return err
	}
	p := printer{w: w}
	p.linef("")
	rows := [][]string{{"NODE", "STATE", "AVAILABILITY", "ADDRESS", "HOST", "REASON", "ID"}}
	for _, n := range s.Nodes {
		rows = append(rows, []string{n.Hostname, n.State, n.Availability, n.Address, n.Host, n.Reason, n.ID})
	}
	return firstError(p.err, printTable(w, rows))
}

func (c *cli) swarmsAddCommand() *cobra.Command {
	in := client.SwarmRequest{}
	cmd := &cobra.Command{
		Use: "add NAME ENDPOINT", Short: "Have the nodes of a swarm become hosts by themselves", Args: cobra.ExactArgs(2),
		Long: "Have the nodes of a swarm become hosts by themselves: those that are ready, active and labeled " +
			"berth.isolated=true. ENDPOINT names all managers: swarm://MANAGER:2376,MANAGER:2376[?data=/FOLDER].",
		Example: "  berth hosts swarms add prod swarm://10.0.0.1:2376,10.0.0.2:2376,10.0.0.3:2376 --region eu-west --zone a",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if in.Region == "" {
				return usagef(cmd, "--region is required")
			}
			in.Name, in.Endpoint = args[0], args[1]
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			made, err := cl.AddSwarm(ctx, in)
			return c.said(cmd, err, made, "Added swarm %s. See what becomes of its nodes: berth hosts swarms show %s", clean(made.Name), clean(made.Name))
		}),
	}
	cmd.Flags().StringVar(&in.Region, "region", "", "region that the nodes stand in")
	cmd.Flags().StringVar(&in.Zone, "zone", "", "zone of nodes without the label zone; without it they do not become hosts")
	cmd.Flags().BoolVar(&in.Reserved, "reserved", false, "the nodes become reserved hosts")
	return cmd
}

func (c *cli) swarmsRmCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Short: "Forget a swarm; its nodes that are hosts stay hosts", Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			name := clean(args[0])
			return c.said(cmd, cl.RemoveSwarm(ctx, args[0]), map[string]string{"name": args[0]},
				"Forgot swarm %s. Its nodes that are hosts stay hosts: berth hosts ls", name)
		}),
	}
}
