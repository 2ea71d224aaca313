package main

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

// setFlags are the flags of `berth hosts set`, as they were written.
type setFlags struct {
	texts         map[string]*string // by flag
	labels, drop  []string
	ports         string
	certificates  string
	cpu, memory   int // percent
	keepCPU       float64
	keepMemory    string
	overcommitted []string // the flags of the overcommit
}

func (f *setFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	for name, usage := range map[string]string{
		"name": "name, unique in the pool", "purpose": "what it is meant for, for people",
		"host-key": "public key that the machine must show from now on",
		"region":   "region; only while nothing is on the host, as zone, rack, address and the machine of the endpoint",
		"zone":     "zone of the region", "rack": "rack of the zone",
		"address": "address that tenants connect to", "endpoint": "how its Docker engine is reached; its user and port change at any time",
	} {
		f.texts[name] = flags.String(name, "", usage)
	}
	flags.StringArrayVar(&f.labels, "label", nil, "a label to set, `name=value`; repeatable, the others stay")
	flags.StringArrayVar(&f.drop, "remove-label", nil, "`name` of a label to remove; repeatable")
	flags.StringVar(&f.ports, "ports", "", "ports that instances may get, `first-last`")
	flags.StringVar(&f.certificates, "certificates", "",
		"`folder` with ca.pem, cert.pem and key.pem that replace those for an engine by TCP")
	flags.IntVar(&f.cpu, "overcommit-cpu", 0, "percent of the cores that are given away; 0: not limited")
	flags.IntVar(&f.memory, "overcommit-memory", 0, "percent of the memory that is given away; 0: not limited")
	flags.Float64Var(&f.keepCPU, "keep-cpu", 0, "cores kept for the system")
	flags.StringVar(&f.keepMemory, "keep-memory", "", "memory kept for the system, a `size` such as 512mb")
	f.overcommitted = []string{"overcommit-cpu", "overcommit-memory", "keep-cpu", "keep-memory"}
}

// change gives what changes of the host. Labels and the overcommit are sent whole.
func (f *setFlags) change(cmd *cobra.Command, h client.Host) (client.HostChange, error) {
	var c client.HostChange
	some := false
	for name, field := range map[string]**string{
		"name": &c.Name, "purpose": &c.Purpose, "host-key": &c.HostKey, "region": &c.Region, "zone": &c.Zone,
		"rack":    &c.Rack,
		"address": &c.Address, "endpoint": &c.Endpoint,
	} {
		if cmd.Flag(name).Changed {
			*field, some = f.texts[name], true
		}
	}
	labels, err := parsePairs("--label", f.labels)
	if err != nil {
		return c, usagef(cmd, "%v", err)
	}
	if len(labels)+len(f.drop) > 0 {
		all := map[string]string{}
		maps.Copy(all, h.Labels)
		maps.Copy(all, labels)
		for _, name := range f.drop {
			delete(all, name)
		}
		c.Labels, some = &all, true
	}
	if cmd.Flag("ports").Changed {
		if c.Ports, err = parsePorts(f.ports); err != nil {
			return c, usagef(cmd, "%v", err)
		}
		some = true
	}
	if f.certificates != "" {
		if c.Certificates, err = readCertificates(f.certificates); err != nil {
			return c, err
		}
		some = true
	}
	for _, name := range f.overcommitted {
		if cmd.Flag(name).Changed {
			if c.Overcommit, err = f.overcommit(cmd, h.Overcommit); err != nil {
				return c, usagef(cmd, "%v", err)
			}
			some = true
			break
		}
	}
	if !some {
		return c, usagef(cmd, "nothing to change; name at least one flag")
	}
	return c, nil
}

func (f *setFlags) overcommit(cmd *cobra.Command, o client.Overcommit) (*client.Overcommit, error) {
	if cmd.Flag("overcommit-cpu").Changed {
		o.CPUPercent = f.cpu
	}
	if cmd.Flag("overcommit-memory").Changed {
		o.MemoryPercent = f.memory
	}
	if cmd.Flag("keep-cpu").Changed {
		o.ReservedCPU = f.keepCPU
	}
	if cmd.Flag("keep-memory").Changed {
		n, err := sizeOrNone(f.keepMemory)
		if err != nil {
			return nil, err
		}
		o.ReservedMemory = n
	}
	return &o, nil
}

// sizeOrNone is parseBytes that takes 0, too.
func sizeOrNone(text string) (int64, error) {
	if text == "0" {
		return 0, nil
	}
	return parseBytes(text)
}

// parsePorts reads "20000-29999".
func parsePorts(text string) (*client.PortRange, error) {
	first, last, ok := strings.Cut(text, "-")
	low, err := strconv.Atoi(first)
	high, also := strconv.Atoi(last)
	if !ok || err != nil || also != nil {
		return nil, fmt.Errorf("--ports must be first-last, such as 20000-29999, not %q", text)
	}
	return &client.PortRange{First: low, Last: high}, nil
}

func (c *cli) hostsSetCommand() *cobra.Command {
	f := setFlags{texts: map[string]*string{}}
	cmd := &cobra.Command{
		Use: "set HOST", Short: "Change a host", Args: cobra.ExactArgs(1),
		Example: "  berth hosts set db-1 --label tier=gold --overcommit-cpu 200",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			if _, err := f.change(cmd, client.Host{}); err != nil {
				return err // before anything is asked for
			}
			h, err := cl.FindHost(ctx, args[0])
			if err != nil {
				return err
			}
			change, err := f.change(cmd, h)
			if err != nil {
				return err
			}
			after, err := cl.ChangeHost(ctx, h.ID, change)
			return c.said(cmd, err, after, "Changed host %s.", clean(after.Name))
		}),
	}
	f.add(cmd)
	return cmd
}

// disksCommands gives `berth hosts disks` and the verbs below it.
func (c *cli) disksCommands() (group *cobra.Command, verbs []*cobra.Command) {
	group = &cobra.Command{
		Use: "disks", Short: "Manage the disks of hosts: folders that data may be in", Args: cobra.NoArgs,
	}
	verbs = []*cobra.Command{c.disksLsCommand(), c.disksAddCommand(), c.disksSetCommand(), c.disksRmCommand()}
	group.AddCommand(verbs...)
	return group, verbs
}

func (c *cli) disksLsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls HOST", Aliases: []string{"list"}, Short: "List the disks of a host", Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			_, h, err := c.hostOf(ctx, cmd, args[0])
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), client.Page[client.HostDisk]{Items: h.Disks})
			}
			return printTable(cmd.OutOrStdout(), diskRows(h.Disks))
		}),
	}
}

func (c *cli) hostOf(ctx context.Context, cmd *cobra.Command, name string) (*client.Client, client.Host, error) {
	cl, err := c.client(cmd)
	if err != nil {
		return nil, client.Host{}, err
	}
	h, err := cl.FindHost(ctx, name)
	return cl, h, err
}

// diskOf gives the id of a disk that is given by id or path.
func diskOf(h client.Host, name string) (string, error) {
	for _, d := range h.Disks {
		if d.ID == name || d.Path == name && name != "" {
			return d.ID, nil
		}
	}
	return "", fmt.Errorf("host %s has no disk %s; see berth hosts disks ls %s", clean(h.Name), clean(name),
		clean(h.Name))
}

func (c *cli) disksAddCommand() *cobra.Command {
	reserved := false
	cmd := &cobra.Command{
		Use: "add HOST PATH:TYPE:SIZE[:loop]", Short: "Add a disk to a host", Args: cobra.ExactArgs(2),
		Long: "Add a disk to a host. With loop, each instance on it has a file system of its own: what it writes beyond\n" +
			"that is refused, and no other instance notices. It needs a host that is reached by SSH as root, or with sudo.",
		Example: "  berth hosts disks add db-1 /data2:nvme:512g\n  berth hosts disks add db-1 /data3:nvme:512g:loop",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			disk, err := parseDisk(args[1])
			if err != nil {
				return usagef(cmd, "%v", err)
			}
			if reserved {
				disk.State = "Reserved"
			}
			cl, h, err := c.hostOf(ctx, cmd, args[0])
			if err != nil {
				return err
			}
			d, err := cl.AddDisk(ctx, h.ID, disk)
			return c.said(cmd, err, d, "Added disk %s (%s) to host %s.", clean(d.ID), clean(d.Path), clean(h.Name))
		}),
	}
	cmd.Flags().BoolVar(&reserved, "reserved", false, "put nothing on it yet")
	return cmd
}

func (c *cli) disksSetCommand() *cobra.Command {
	capacity, state, enforcement := "", "", ""
	cmd := &cobra.Command{
		Use: "set HOST DISK", Short: "Change a disk, or mark it as bad", Args: cobra.ExactArgs(2),
		Long: "Change a disk, or mark it as bad. DISK is an id or a path. On a disk that is reserved or in " +
			"error nothing new is put; what is there stays.",
		Example: "  berth hosts disks set db-1 /data1 --state error",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			var change client.DiskChange
			if cmd.Flag("capacity").Changed {
				n, err := sizeOrNone(capacity)
				if err != nil {
					return usagef(cmd, "--capacity: %v", err)
				}
				change.Capacity = &n
			}
			if cmd.Flag("state").Changed {
				change.State = &state
			}
			if cmd.Flag("enforcement").Changed {
				change.Enforcement = &enforcement
			}
			if change == (client.DiskChange{}) {
				return usagef(cmd, "nothing to change; name --capacity, --state or --enforcement")
			}
			cl, h, err := c.hostOf(ctx, cmd, args[0])
			if err != nil {
				return err
			}
			disk, err := diskOf(h, args[1])
			if err != nil {
				return err
			}
			d, err := cl.ChangeDisk(ctx, h.ID, disk, change)
			return c.said(cmd, err, d, "Disk %s of host %s is %s.", clean(orElse(d.Path, d.ID)), clean(h.Name),
				clean(d.State))
		}),
	}
	cmd.Flags().StringVar(&capacity, "capacity", "", "`size` that may be given away; 0: not limited")
	cmd.Flags().StringVar(&state, "state", "", "available, reserved or error")
	cmd.Flags().StringVar(&enforcement, "enforcement", "", "none or loop; while nothing is on the disk")
	return cmd
}

func (c *cli) disksRmCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm HOST DISK", Aliases: []string{"delete"}, Short: "Remove a disk that nothing is on",
		Args: cobra.ExactArgs(2),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, h, err := c.hostOf(ctx, cmd, args[0])
			if err != nil {
				return err
			}
			disk, err := diskOf(h, args[1])
			if err != nil {
				return err
			}
			return c.said(cmd, cl.RemoveDisk(ctx, h.ID, disk), map[string]string{"id": disk},
				"Removed disk %s of host %s.", clean(args[1]), clean(h.Name))
		}),
	}
}
