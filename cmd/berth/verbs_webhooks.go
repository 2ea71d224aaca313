package main

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

// webhooksCommands gives `berth webhooks` and the verbs below it, which have the
// flags of all client verbs.
func (c *cli) webhooksCommands() (group *cobra.Command, verbs []*cobra.Command) {
	group = &cobra.Command{Use: "webhooks", Short: "Manage webhooks, which send signed events to a URL", Args: cobra.NoArgs}
	verbs = []*cobra.Command{c.webhooksLsCommand(), c.webhooksAddCommand(), c.webhooksRmCommand(), c.webhooksPingCommand(), c.webhooksDeliveriesCommand()}
	group.AddCommand(verbs...)
	return group, verbs
}

func (c *cli) webhooksLsCommand() *cobra.Command {
	limit := defaultLimit
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List webhooks", Args: cobra.NoArgs,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error { return c.webhooksLs(ctx, cmd, limit) }),
	}
	cmd.Flags().IntVar(&limit, "limit", defaultLimit, "maximum number to list")
	return cmd
}

func (c *cli) webhooksLs(ctx context.Context, cmd *cobra.Command, limit int) error {
	return listed(c, cmd, limit, []string{"WEBHOOK", "URL", "EVENTS", "STATE", "AGE"}, "No webhooks. Add one: berth webhooks add URL",
		func(cl *client.Client, limit int, cursor string) (client.Page[client.Webhook], error) {
			return cl.Webhooks(ctx, limit, cursor)
		},
		func(h client.Webhook) []string {
			state := "enabled"
			if !h.Enabled {
				state = strings.TrimSuffix("disabled: "+h.DisabledReason, ": ")
			}
			return []string{h.ID, h.URL, orElse(strings.Join(h.Events, ", "), "all"), state, age(c.now(), h.CreatedAt)}
		})
}

func (c *cli) webhooksAddCommand() *cobra.Command {
	var in client.WebhookRequest
	cmd := &cobra.Command{
		Use: "add URL", Short: "Create a webhook that sends events to a URL", Args: cobra.ExactArgs(1),
		Example: "  berth webhooks add https://example.com/hook --event 'instance.*' --event job.failed",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			in.URL = args[0]
			h, err := cl.AddWebhook(ctx, rand.Text(), in)
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), h)
			}
			p := printer{w: cmd.OutOrStdout()}
			p.linef("Added %s.", clean(h.ID))
			p.linef("Secret that signs deliveries (shown only once): %s", clean(h.Secret))
			p.linef("Test it: berth webhooks ping %s", clean(h.ID))
			return p.err
		}),
	}
	cmd.Flags().StringArrayVar(&in.Events, "event", nil, "send only events of this `type`, such as job.failed or 'instance.*'; repeatable")
	cmd.Flags().StringVar(&in.Description, "description", "", "description of the webhook")
	return cmd
}

func (c *cli) webhooksRmCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm ID", Aliases: []string{"delete"}, Short: "Delete a webhook and cancel its pending deliveries", Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			h, err := cl.RemoveWebhook(ctx, args[0])
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), h)
			}
			p := printer{w: cmd.OutOrStdout()}
			p.linef("Removed %s.", clean(h.ID))
			return p.err
		}),
	}
}

func (c *cli) webhooksPingCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ping ID", Short: "Send a test event to a webhook", Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			d, err := cl.PingWebhook(ctx, rand.Text(), args[0])
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), d)
			}
			p := printer{w: cmd.OutOrStdout()}
			p.linef("Sending %s. Check its delivery: berth webhooks deliveries %s", clean(d.EventID), clean(d.WebhookID))
			return p.err
		}),
	}
}

func (c *cli) webhooksDeliveriesCommand() *cobra.Command {
	var f client.DeliveryFilter
	cmd := &cobra.Command{
		Use: "deliveries [ID]", Short: "List deliveries to one webhook, or to all webhooks and callback URLs", Args: cobra.MaximumNArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				f.WebhookID = args[0]
			}
			return c.webhooksDeliveries(ctx, cmd, f)
		}),
	}
	cmd.Flags().StringVar(&f.JobID, "job", "", "list only deliveries about this job (`id`)")
	cmd.Flags().StringVar(&f.State, "state", "", "list only deliveries in this state: pending, delivered, exhausted, canceled")
	cmd.Flags().IntVar(&f.Limit, "limit", defaultLimit, "maximum number to list")
	return cmd
}

func (c *cli) webhooksDeliveries(ctx context.Context, cmd *cobra.Command, f client.DeliveryFilter) error {
	return listed(c, cmd, f.Limit, []string{"DELIVERY", "EVENT", "STATE", "ATTEMPTS", "LAST ERROR", "AGE", "TO"}, "No deliveries.",
		func(cl *client.Client, limit int, cursor string) (client.Page[client.Delivery], error) {
			f.Limit, f.Cursor = limit, cursor
			return cl.Deliveries(ctx, f)
		},
		func(d client.Delivery) []string {
			return []string{d.ID, d.EventType, d.State, strconv.Itoa(d.Attempt), d.LastError, age(c.now(), d.CreatedAt), orElse(d.WebhookID, d.URL)}
		})
}
