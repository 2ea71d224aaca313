// Command berth provisions data services on request. It is the server (`berth
// dev`, or `berth api` and `berth worker`) and the client (`berth create redis`).
// This package holds flags and wiring and nothing else.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/stopsignal"
)

// version is set when a release is built.
var version = "dev"

func main() {
	ctx := stopsignal.Context(context.Background(), func() { os.Exit(exitInterrupted) })
	os.Exit(reportError(os.Stderr, newRoot().ExecuteContext(ctx)))
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use: "berth", Short: "Data services on request", Version: version,
		Long: "Berth provisions data services on request: create a MySQL or Redis instance, wait for its job to end, connect.\n\n" +
			"`berth dev` runs everything in one process; `berth create redis --wait` creates a Redis instance there.",
		SilenceErrors: true, SilenceUsage: true,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(serverCommands()...)
	root.AddCommand(clientCommands()...)
	addMasterKeyCommands(root)
	return root
}
