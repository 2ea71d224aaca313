package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

// eventsFlags are the flags of `berth events`, as they were written.
type eventsFlags struct {
	after    int64
	follow   bool
	types    []string
	instance string
}

func (c *cli) eventsCommand() *cobra.Command {
	var f eventsFlags
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show events, and with --follow new ones as they happen",
		Example: `  berth events --instance orders
  berth events --after 1200 --follow -o json`,
		Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error { return c.events(ctx, cmd, f) }),
	}
	flags := cmd.Flags()
	flags.Int64Var(&f.after, "after", 0, "show only events after this `number`")
	flags.BoolVarP(&f.follow, "follow", "f", false, "keep showing new events until interrupted")
	flags.StringSliceVar(&f.types, "type", nil, "show only events of this type, such as instance.failed; repeatable")
	flags.StringVar(&f.instance, "instance", "", "show only events about this instance (name or id)")
	return cmd
}

func (c *cli) events(ctx context.Context, cmd *cobra.Command, f eventsFlags) error {
	if f.after < 0 {
		return usagef(cmd, "--after must be 0 or more")
	}
	cl, err := c.client(cmd)
	if err != nil {
		return err
	}
	filter := client.EventFilter{Types: f.types, InstanceID: f.instance}
	// An id needs no look-up, and still finds the events of an instance long gone.
	if f.instance != "" && !strings.HasPrefix(f.instance, "ins_") {
		instance, err := cl.Find(ctx, f.instance)
		if err != nil {
			return err
		}
		filter.InstanceID = instance.ID
	}
	show := c.showEvent(cmd.OutOrStdout())
	if f.follow {
		return cl.FollowEvents(ctx, filter, f.after, show)
	}
	_, err = cl.EachEvent(ctx, filter, f.after, show)
	return err
}

// showEvent gives what writes one line an event. The columns have fixed widths: nobody
// knows what is still to come.
func (c *cli) showEvent(w io.Writer) func(client.Event) error {
	if c.json() {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return func(e client.Event) error { return enc.Encode(e) }
	}
	const columns = "%-7v  %-20s  %-22s  %-30s  %s\n"
	headed := false
	return func(e client.Event) error {
		if !headed {
			headed = true
			if _, err := fmt.Fprintf(w, columns, "NUMBER", "TIME", "TYPE", "INSTANCE", "MESSAGE"); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(w, columns, e.Number, e.CreatedAt.UTC().Format(time.RFC3339), clean(e.Type),
			clean(orElse(e.InstanceID, e.Subject)), clean(e.Message))
		return err
	}
}
