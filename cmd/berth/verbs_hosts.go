package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

// hostsCommands gives `berth hosts` and the verbs below it.
func (c *cli) hostsCommands() (group *cobra.Command, verbs []*cobra.Command) {
	group = &cobra.Command{
		Use: "hosts", Short: "Manage the pool of hosts (for operators)", Args: cobra.NoArgs,
		Long: "Manage the pool of hosts: the machines that instances are placed on. docs/hosts.md has the whole " +
			"of it. HOST is a name or an id.",
	}
	direct := []*cobra.Command{
		c.hostsLsCommand(), c.hostsShowCommand(), c.hostsAddCommand(), c.hostsImportCommand(),
		c.hostsTemplateCommand(), c.hostsTakeoverCommand(),
		c.hostsCordonCommand("cordon", "Place nothing on hosts any more; what is there stays", true, "Cordoned"),
		c.hostsCordonCommand("uncordon", "Place instances on hosts again", false, "Uncordoned"),
		c.hostsReserveCommand("reserve", "Place nothing on hosts that does not name them", true, "Reserved"),
		c.hostsReserveCommand("unreserve", "End that hosts are reserved", false, "Unreserved"),
		c.hostsDrainCommand(), c.hostsInspectCommand(), c.hostsRmCommand(), c.hostsSetCommand(),
		c.hostsTreeCommand(), c.hostsStocksCommand(), c.hostsInstancesCommand(), c.hostsTryCommand(),
	}
	disks, ofDisks := c.disksCommands()
	regions, ofRegions := c.regionsCommands()
	swarms, ofSwarms := c.swarmsCommands()
	group.AddCommand(append(direct, disks, regions, swarms)...)
	return group, slices.Concat(direct, ofDisks, ofRegions, ofSwarms)
}

func (c *cli) hostsLsCommand() *cobra.Command {
	f, limit := client.HostFilter{}, defaultLimit
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List hosts, newest first", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			if _, err := parsePairs("--label", f.Labels); err != nil {
				return usagef(cmd, "%v", err)
			}
			none := "No hosts. Add one: berth hosts add NAME ADDRESS --user root --region REGION --zone ZONE"
			if f.State+f.Health+f.Region+f.Zone+f.Rack != "" || len(f.Labels) > 0 {
				none = "No hosts match."
			}
			head := []string{
				"NAME", "STATE", "HEALTH", "REGION", "ZONE", "RACK", "ADDRESS", "INSTANCES", "CPU", "MEMORY", "AGE", "ID",
			}
			return listed(c, cmd, limit, head, none,
				func(cl *client.Client, limit int, cursor string) (client.Page[client.Host], error) {
					f.Limit, f.Cursor = limit, cursor
					return cl.Hosts(ctx, f)
				},
				func(h client.Host) []string {
					return []string{
						h.Name, hostState(h), h.Health, h.Region, h.Zone, h.Rack, h.Address,
						strconv.FormatInt(h.Used.Instances, 10),
						ofCores(h), ofMemory(h), age(c.now(), h.CreatedAt), h.ID,
					}
				})
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.State, "state", "", "list only hosts in this state: importing, online, cordoned, draining, "+
		"failed or deleting")
	flags.StringVar(&f.Health, "health", "", "list only hosts of this health: healthy, unreachable or disk_full")
	flags.StringVar(&f.Region, "region", "", "list only hosts in this region")
	flags.StringVar(&f.Zone, "zone", "", "list only hosts in this zone")
	flags.StringVar(&f.Rack, "rack", "", "list only hosts in this rack")
	flags.StringArrayVar(&f.Labels, "label", nil, "list only hosts with this label, `name=value`; repeatable")
	flags.IntVar(&limit, "limit", defaultLimit, "maximum number to list")
	return cmd
}

func hostState(h client.Host) string {
	if h.Reserved {
		return h.State + ", reserved"
	}
	return h.State
}

// cores writes a number of cores.
func cores(n float64) string { return strconv.FormatFloat(n, 'g', -1, 64) }

// sizeOf writes a number of bytes, also none.
func sizeOf(n int64) string { return orElse(bytesText(n), "0") }

// ofCores says how much is held of how much; "-": it is not limited.
func ofCores(h client.Host) string {
	if h.Capacity.CPU == 0 {
		return cores(h.Used.CPU) + "/-"
	}
	return cores(h.Used.CPU) + "/" + cores(h.Capacity.CPU)
}

func ofMemory(h client.Host) string {
	return sizeOf(h.Used.Memory) + "/" + orElse(bytesText(h.Capacity.Memory), "-")
}

func (c *cli) hostsShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show HOST", Aliases: []string{"get"},
		Short: "Show a host with its disks and what the last look at it found", Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			h, err := cl.FindHost(ctx, args[0])
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), h)
			}
			return showHost(cmd.OutOrStdout(), h, c.now())
		}),
	}
}

func showHost(w io.Writer, h client.Host, now time.Time) error {
	if err := printFacts(w, hostFacts(h, now)); err != nil {
		return err
	}
	p := printer{w: w}
	if len(h.Disks) > 0 {
		p.linef("")
		p.err = firstError(p.err, printTable(w, diskRows(h.Disks)))
	}
	if len(h.Checks) > 0 {
		p.linef("")
		p.err = firstError(p.err, printTable(w, checkRows(h.Checks)))
	}
	return p.err
}

func hostFacts(h client.Host, now time.Time) []fact {
	health := h.Health
	if h.HealthNote != "" {
		health += ": " + h.HealthNote
	}
	if !h.HealthSince.IsZero() {
		health += ", since " + stamp(h.HealthSince, now)
	}
	facts := []fact{
		{"Name", h.Name}, {"ID", h.ID}, {"State", hostState(h)}, {"Reason", h.Reason}, {"Job", h.JobID},
		{"Health", health},
		{"Source", h.Source}, {"Address", h.Address}, {"Endpoint", h.Endpoint}, {"Host key", h.HostKey},
		{"Place", placeText(h.Region, h.Zone, h.Rack)}, {"Ports", fmt.Sprintf("%d-%d", h.Ports.First, h.Ports.Last)},
		{"Arch", h.Arch}, {"Purpose", h.Purpose}, {"Labels", pairs(h.Labels)}, {"Engine", h.Engine},
	}
	if f := h.Found; f != nil {
		facts = append(facts,
			fact{"Machine", fmt.Sprintf("%s cores, %s memory", cores(f.CPU), sizeOf(f.Memory))},
			fact{"System", fmt.Sprintf("%s, kernel %s, Docker %s on %s", f.OS, f.Kernel, f.EngineVersion,
				f.StorageDriver)},
			fact{"Seen", stamp(f.At, now)})
	}
	return append(facts,
		fact{"Overcommit", overcommitText(h.Overcommit)},
		fact{"CPU", given(cores(h.Used.CPU), cores(h.Capacity.CPU), h.Capacity.CPU > 0)},
		fact{"Memory", given(sizeOf(h.Used.Memory), sizeOf(h.Capacity.Memory), h.Capacity.Memory > 0)},
		fact{"Instances", strconv.FormatInt(h.Used.Instances, 10)}, fact{"Created", stamp(h.CreatedAt, now)})
}

func given(used, capacity string, limited bool) string {
	if !limited {
		return used + " held, not limited"
	}
	return used + " of " + capacity + " held"
}

func overcommitText(o client.Overcommit) string {
	percent := func(n int) string {
		if n == 0 {
			return notLimited
		}
		return strconv.Itoa(n) + " %"
	}
	return fmt.Sprintf("cpu %s, memory %s; %s cores and %s kept for the system", percent(o.CPUPercent),
		percent(o.MemoryPercent), cores(o.ReservedCPU), sizeOf(o.ReservedMemory))
}

// placeText writes where something is: "eu-west/a/r1".
func placeText(parts ...string) string { return strings.TrimRight(strings.Join(parts, "/"), "/") }

func diskRows(disks []client.HostDisk) [][]string {
	rows := [][]string{{"DISK", "PATH", "TYPE", "STATE", "USED", "CAPACITY", "INSTANCES", "ENFORCEMENT"}}
	for _, d := range disks {
		rows = append(rows, []string{
			d.ID, orElse(d.Path, "(the engine's)"), d.Type, d.State, sizeOf(d.Used),
			orElse(bytesText(d.Capacity), notLimited), strconv.FormatInt(d.Instances, 10), d.Enforcement,
		})
	}
	return rows
}

func checkRows(checks []client.HostCheck) [][]string {
	rows := [][]string{{"CHECK", "VERDICT", "FOUND", "WANTED", "ADVICE"}}
	for _, k := range checks {
		rows = append(rows, []string{k.Name, k.Verdict, k.Found, k.Wanted, k.Advice})
	}
	return rows
}
