package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

// levels are the levels of the pool, as people call them.
var levels = []string{"region", "zone", "rack", "host"}

func (c *cli) hostsTreeCommand() *cobra.Command {
	level, depth := levels[0], len(levels)
	cmd := &cobra.Command{
		Use: "tree", Short: "Show the pool as regions, zones, racks and hosts", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			from := slices.Index(levels, level)
			if from < 0 || depth < 1 || depth > len(levels) {
				return usagef(cmd, "--level is region, zone, rack or host, and --depth 1 to 4")
			}
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			page, err := cl.Hierarchy(ctx, from+1, depth)
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), page)
			}
			p := printer{w: cmd.OutOrStdout()}
			if len(page.Items) == 0 {
				p.linef("No hosts.")
			}
			for _, l := range treeLines(page.Items) {
				p.linef("%s", l)
			}
			return p.err
		}),
	}
	cmd.Flags().StringVar(&level, "level", level, "where to begin: region, zone, rack or host")
	cmd.Flags().IntVar(&depth, "depth", depth, "how many levels, 1 to 4")
	return cmd
}

// treeLines draws branches, with what is in them in a column behind all names.
func treeLines(list []client.Branch) []string {
	type entry struct{ name, what string }
	var entries []entry
	var walk func(list []client.Branch, indent string, top bool)
	walk = func(list []client.Branch, indent string, top bool) {
		for i, b := range list {
			mark, below := "├─ ", "│  "
			if i == len(list)-1 {
				mark, below = "└─ ", "   "
			}
			if top {
				mark, below = "", ""
			}
			entries = append(entries, entry{indent + mark + clean(b.Name), branchText(b)})
			walk(b.Branches, indent+below, false)
		}
	}
	walk(list, "", true)
	widest := 0
	for _, e := range entries {
		widest = max(widest, textWidth(e.name))
	}
	lines := make([]string, len(entries))
	for i, e := range entries {
		lines[i] = e.name + strings.Repeat(" ", widest-textWidth(e.name)) + "  " + e.what
	}
	return lines
}

func branchText(b client.Branch) string {
	text := strconv.FormatInt(b.Instances, 10) + " instances"
	if b.Instances == 1 {
		text = "1 instance"
	}
	switch {
	case b.Level != "host":
		return fmt.Sprintf("%s, %d open, %s", hostsText(b.Hosts), b.Open, text)
	case b.Open == 0:
		return text + ", closed"
	default:
		return text
	}
}

func (c *cli) hostsStocksCommand() *cobra.Command {
	by := levels[0]
	cmd := &cobra.Command{
		Use: "stocks", Short: "Show what is free, and how many instances of each plan still fit", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			if !slices.Contains(levels, by) {
				return usagef(cmd, "--by is region, zone, rack or host, not %q", by)
			}
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			page, err := cl.Stocks(ctx, by)
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), page)
			}
			rows := [][]string{{
				strings.ToUpper(by), "HOSTS", "OPEN", "CPU FREE", "MEMORY FREE", "DISKS", "DISK FREE", "STILL FIT",
			}}
			for _, s := range page.Items {
				rows = append(rows, stockRow(s))
			}
			return printTable(cmd.OutOrStdout(), rows)
		}),
	}
	cmd.Flags().StringVar(&by, "by", by, "region, zone, rack or host")
	return cmd
}

const notLimited = "not limited"

func stockRow(s client.Stock) []string {
	cpu, memory, disk := notLimited, notLimited, notLimited
	if s.CPU >= 0 {
		cpu = cores(s.CPU)
	}
	if s.Memory >= 0 {
		memory = sizeOf(s.Memory)
	}
	if s.Disk >= 0 {
		disk = sizeOf(s.Disk)
	}
	fits := make([]string, 0, len(s.Fits))
	for _, plan := range slices.Sorted(maps.Keys(s.Fits)) {
		n := strconv.Itoa(s.Fits[plan])
		if s.Fits[plan] < 0 {
			n = notLimited
		}
		fits = append(fits, plan+"="+n)
	}
	return []string{
		s.Group, strconv.Itoa(s.Hosts), strconv.Itoa(s.Open), cpu, memory, strconv.Itoa(s.Disks), disk, strings.Join(fits, " "),
	}
}

func (c *cli) hostsInstancesCommand() *cobra.Command {
	limit := defaultLimit
	cmd := &cobra.Command{
		Use: "instances HOST", Short: "List what is on a host, of all tenants", Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			id := ""
			return listed(c, cmd, limit, []string{"INSTANCE", "TENANT", "RESOURCES", "PORTS", "DISK", "GROUP", "AGE"},
				"Nothing is on the host.",
				func(cl *client.Client, limit int, after string) (client.Page[client.OnHost], error) {
					if id == "" {
						h, err := cl.FindHost(ctx, args[0])
						if err != nil {
							return client.Page[client.OnHost]{}, err
						}
						id = h.ID
					}
					return cl.HostInstances(ctx, id, limit, after)
				},
				func(o client.OnHost) []string {
					return []string{o.ID, o.TenantID, resourcesText(o.Resources), strconv.Itoa(o.Ports), o.Disk,
						o.Group, age(c.now(), o.CreatedAt)}
				})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", defaultLimit, "maximum number to list")
	return cmd
}

func (c *cli) hostsTryCommand() *cobra.Command {
	var (
		place placeFlags
		count int
	)
	cmd := &cobra.Command{
		Use: "try ENGINE[:PLAN]", Short: "Show the hosts that instances would be placed on; nothing is placed",
		Args:    cobra.ExactArgs(1),
		Example: "  berth hosts try mysql:large --count 3 --region eu-west --group orders --spread rack --strict",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if err := noneEmpty(cmd, placeNames); err != nil {
				return err
			}
			in := client.TryRequest{Count: count}
			in.Engine, in.Plan, _ = strings.Cut(args[0], ":")
			var err error
			if in.Placement, err = place.placement(cmd); err != nil {
				return err
			}
			if count < 1 {
				return usagef(cmd, "--count must be 1 or more")
			}
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			tried, err := cl.TryPlacement(ctx, in)
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), tried)
			}
			rows := [][]string{{"INSTANCE", "HOST", "REGION", "ZONE", "RACK", "ID"}}
			for i, h := range tried.Hosts {
				rows = append(rows, []string{strconv.Itoa(i + 1), h.Name, h.Region, h.Zone, h.Rack, h.ID})
			}
			return printTable(cmd.OutOrStdout(), rows)
		}),
	}
	cmd.Flags().IntVar(&count, "count", 1, "number of instances, all or none")
	place.add(cmd)
	return cmd
}

// regionPage is a list of regions.
type regionPage = client.Page[client.Region]

// regionsCommands gives `berth hosts regions` and the verbs below it.
func (c *cli) regionsCommands() (group *cobra.Command, verbs []*cobra.Command) {
	group = &cobra.Command{
		Use: "regions", Short: "Manage the regions that hosts are in, and their zones", Args: cobra.NoArgs,
	}
	ls := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List regions with their zones", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			return c.regions(cmd, func(cl *client.Client) (regionPage, error) { return cl.Regions(ctx) })
		}),
	}
	name := ""
	add := &cobra.Command{
		Use: "add REGION ZONE...", Short: "Add a region with zones, or zones to one", Args: cobra.MinimumNArgs(2),
		Example: "  berth hosts regions add eu-west a b c",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			return c.regions(cmd, func(cl *client.Client) (regionPage, error) {
				return cl.AddRegion(ctx, client.Region{Region: args[0], Name: name, Zones: args[1:]})
			})
		}),
	}
	add.Flags().StringVar(&name, "name", "", "name of the region, for people")
	verbs = []*cobra.Command{ls, add}
	group.AddCommand(verbs...)
	return group, verbs
}

func (c *cli) regions(cmd *cobra.Command, fetch func(*client.Client) (regionPage, error)) error {
	cl, err := c.client(cmd)
	if err != nil {
		return err
	}
	page, err := fetch(cl)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(cmd.OutOrStdout(), page)
	}
	if len(page.Items) == 0 {
		return c.said(cmd, nil, nil, "No regions. Add one: berth hosts regions add REGION ZONE...")
	}
	rows := [][]string{{"REGION", "ZONES", "NAME"}}
	for _, r := range page.Items {
		rows = append(rows, []string{r.Region, strings.Join(r.Zones, ", "), r.Name})
	}
	return printTable(cmd.OutOrStdout(), rows)
}
