package main

import (
	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

// placeFlags are the flags that say where instances are to be.
type placeFlags struct {
	client.Placement
	labels []string
}

// placeNames are those that are texts.
var placeNames = []string{"region", "zone", "rack", "host", "arch", "disk-type", "group", "spread"}

func (f *placeFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.Region, "region", "", "region to be in")
	flags.StringVar(&f.Zone, "zone", "", "zone to be in")
	flags.StringVar(&f.Rack, "rack", "", "rack to be in")
	flags.StringVar(&f.Host, "host", "", "host to be on, by name or id")
	flags.StringVar(&f.Arch, "arch", "", "architecture of the host: amd64 or arm64")
	flags.StringVar(&f.DiskType, "disk-type", "", "type of the disk: nvme, ssd or hdd")
	flags.StringArrayVar(&f.labels, "host-label", nil, "a label that the host has, `name=value`; repeatable")
	flags.StringVar(&f.Group, "group", "", "name of what --spread keeps apart, within the tenant")
	flags.StringVar(&f.Spread, "spread", "", "host, rack or zone: be on another one than the rest of the group, "+
		"as far as there are")
	flags.BoolVar(&f.Strict, "strict", false, "with --spread: refuse to be beside another of the group")
}

// placement gives what was asked for; nil: nothing.
func (f *placeFlags) placement(cmd *cobra.Command) (*client.Placement, error) {
	labels, err := parsePairs("--host-label", f.labels)
	if err != nil {
		return nil, usagef(cmd, "%v", err)
	}
	asked := len(labels) > 0 || f.Strict
	for _, name := range placeNames {
		asked = asked || cmd.Flag(name).Changed
	}
	if !asked {
		return nil, nil // the request leaves it out
	}
	p := f.Placement
	if len(labels) > 0 {
		p.Labels = labels
	}
	return &p, nil
}
