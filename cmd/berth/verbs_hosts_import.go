package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

func (c *cli) hostsImportCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Import the machines of a file as hosts, all or none", Args: cobra.ExactArgs(1),
		Long: "Import the machines of a file as hosts, all or none. The file is the filled-in template as CSV or " +
			"as an xlsx workbook, or a JSON array where its name ends in .json. " +
			"Every row that is wrong is named, with its number as a spreadsheet shows it, and nothing is imported.",
		Example: `  berth hosts template xlsx -o hosts.xlsx
  berth hosts import hosts.xlsx --dry-run
  berth hosts import hosts.xlsx --prepare docker,sysctls --wait`,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			data, err := os.ReadFile(args[0]) //nolint:gosec // the user names the file
			if err != nil {
				return fmt.Errorf("read the file of hosts: %w", err)
			}
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			made, err := cl.ImportHosts(ctx, rand.Text(), filepath.Base(args[0]), data, f.ImportOptions)
			if err != nil {
				return err
			}
			count := hostsText(made.Count)
			switch {
			case made.Job == nil:
				return c.said(cmd, nil, made, "%s could be imported; nothing was changed.", count)
			case !f.wait:
				return c.said(cmd, nil, made, "Importing %s. Wait for all: berth wait %s", count, clean(made.Job.ID))
			}
			return c.finishImport(ctx, cmd, cl, made, f)
		}),
	}
	f.add(cmd)
	return cmd
}

func hostsText(n int) string {
	if n == 1 {
		return "1 host"
	}
	return strconv.Itoa(n) + " hosts"
}

// finishImport shows the hosts while they are imported, and says of each that failed why.
func (c *cli) finishImport(ctx context.Context, cmd *cobra.Command, cl *client.Client, made client.Imported,
	f importFlags) error {
	title := "import " + hostsText(made.Count)
	w := &importWatch{cl: cl, fleet: newFleet(made.Hosts)}
	job, outcome := c.followFleet(ctx, cmd, w, followed{job: *made.Job, title: title, timeout: f.timeout})
	made.Job = &job
	p := printer{w: cmd.OutOrStdout()}
	if c.json() {
		p.err = printJSON(p.w, made)
		return firstError(outcome, p.err)
	}
	online, failed := w.fleet.ended()
	var ended *jobError
	if outcome != nil && !errors.As(outcome, &ended) {
		return outcome
	}
	for _, h := range failed {
		p.linef("%s failed: %s", clean(h.name), clean(h.why()))
	}
	p.linef("%d of %s online.", online, hostsText(made.Count))
	if outcome != nil && len(failed) > 0 {
		// Each has been named with its reason already; the job's own words are the same again.
		outcome = fmt.Errorf("%s: %s failed; mend what is said above and import them again", title,
			hostsText(len(failed)))
	}
	return firstError(outcome, p.err)
}

func (c *cli) hostsTemplateCommand() *cobra.Command {
	file := ""
	cmd := &cobra.Command{
		Use: "template csv|xlsx", Short: "Get the empty file to import hosts from", ValidArgs: []string{"csv", "xlsx"},
		Args:    cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		Example: "  berth hosts template xlsx -o hosts.xlsx",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if _, isTerminal := c.terminal(cmd.OutOrStdout()); isTerminal && file == "" && args[0] == "xlsx" {
				return usagef(cmd, "a workbook is not for the terminal; name a file with -o")
			}
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			data, err := cl.HostTemplate(ctx, args[0])
			if err != nil {
				return err
			}
			if file == "" {
				_, err = cmd.OutOrStdout().Write(data)
				return err
			}
			return writeNew(file, data)
		}),
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "`file` to write it to (default: the standard output)")
	return cmd
}

// writeNew writes a file that is not there yet: somebody may have filled it in.
func writeNew(name string, data []byte) error {
	// Passwords will be in it.
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the user names the file
	if err != nil {
		return fmt.Errorf("write the template: %w", err)
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
