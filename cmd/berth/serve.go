package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/berth-project/berth/api"
	"github.com/berth-project/berth/internal/config"
	"github.com/berth-project/berth/internal/redisserver"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/store"
)

// serverCommands gives the ways to run the server.
func serverCommands() []*cobra.Command {
	command := func(use, short string, mode config.Mode, run func(context.Context, *node) error) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: usageArgs(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(mode, os.Environ())
			if err != nil {
				return err
			}
			n, err := newNode(cfg, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if mode == config.Dev || mode == config.Worker {
				err = n.trustReceivers()
			}
			if err == nil {
				err = run(cmd.Context(), n)
			}
			return n.endedAsTold(cmd.Context(), mode, errors.Join(err, n.close()))
		}}
	}
	return []*cobra.Command{
		command("dev", "Run everything in one process (needs only Docker)", config.Dev, runDev),
		command("api", "Serve the API (run any number)", config.API, runAPI),
		command("worker", "Run jobs and periodic duties (run any number)", config.Worker, runWorker),
		command("migrate", "Migrate the database schema to this release", config.Migrate, runMigrate),
	}
}

// endedAsTold gives no error of a server that was told to stop: then it ends as it should,
// also where that came while it was starting or waiting, or while what it needs was away.
// A migration that was told to stop has not done what it was to do.
func (n *node) endedAsTold(ctx context.Context, mode config.Mode, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if mode == config.Migrate {
		return fmt.Errorf("stopped before the schema was up to date; run it again (%s)", err.Error()) // which is no interrupt
	}
	n.log.InfoContext(ctx, "stopped by a signal", "meanwhile", err)
	return nil
}

// runDev makes what is missing, and then runs all parts until one fails or the
// context ends.
func runDev(ctx context.Context, n *node) error {
	return n.serve(ctx, true, n.openDev, append(n.duties(), n.greet, n.work)...)
}

// openDev opens everything, and makes what is missing.
func (n *node) openDev(ctx context.Context) error {
	if n.cfg.AdminKey != "" {
		if err := n.readAdminKey(); err != nil {
			return err
		}
	}
	before, err := n.guardDev(ctx)
	if err != nil {
		return err
	}
	n.fresh = !before.Used
	if err := n.devSecrets(); err != nil {
		return err
	}
	if err := n.openStore(); err != nil {
		return err
	}
	if err := n.migrate(ctx, before); err != nil {
		return err
	}
	if n.cfg.RedisURL == config.RedisEmbedded {
		if err := n.embedRedis(ctx); err != nil {
			return err
		}
	}
	return n.openRest(ctx)
}

// embedRedis starts a Redis in this process. It outlives ctx: the parts that use it
// stop first.
func (n *node) embedRedis(ctx context.Context) error {
	server, err := redisserver.Start(secret.APIKey())
	if err != nil {
		return err
	}
	n.cfg.RedisURL, n.embedded = server.URL(), server
	runCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- server.Run(runCtx) }()
	n.closers = append(n.closers, func() error {
		stop()
		return <-done
	})
	return nil
}

// adminKeyFile is where dev keeps its key, and where the client verbs look for it.
const adminKeyFile = "admin.key"

// greet tells a person at a terminal what to do next.
func (n *node) greet(context.Context) error {
	cfg := n.cfg
	url := n.scheme() + "://" + cfg.HTTPAddr
	verb := "bin/berth"
	if url != defaultURL {
		verb = "BERTH_URL=" + url + " " + verb
	}
	if cfg.DataDir != defaultDataDir {
		verb = "BERTH_DATA_DIR=" + cfg.DataDir + " " + verb
	}
	_, _ = fmt.Fprintf(n.out, `
  Berth is ready:  %[1]s
  API reference:   %[1]s/docs/
  Queues:          %[1]s/queues   (any user name; the password is the admin key)
  Admin key:       %[2]s/`+adminKeyFile+`   (unless BERTH_ADMIN_KEY is set)

  Try, in another terminal:

    %[3]s create redis --name my-redis --wait
    %[3]s config my-redis

    curl -H "Authorization: Bearer $(cat %[2]s/`+adminKeyFile+`)" -X POST %[1]s/api/v1/storage/mysql/instances

`, url, cfg.DataDir, verb)
	return nil
}

func runAPI(ctx context.Context, n *node) error {
	open := func(ctx context.Context) error {
		if err := n.readAdminKey(); err != nil {
			return err
		}
		return n.openAll(ctx)
	}
	return n.serve(ctx, false, open, n.duties()...)
}

// serve listens, opens everything behind the listener, and then runs the API and the parts
// beside it until one fails or the context ends. Nothing is made before the address is ours.
func (n *node) serve(ctx context.Context, withDocker bool, open func(context.Context) error, beside ...func(context.Context) error) error {
	cert, err := n.certificate()
	if err != nil {
		return err
	}
	listener, err := listen(ctx, n.cfg.HTTPAddr)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	gate := api.NewGate(ctx)
	group.Go(func() error { return n.serveHTTP(ctx, listener, cert, gate) })
	if cert != nil {
		group.Go(func() error { cert.Run(ctx); return nil })
	}
	group.Go(func() error {
		if err := open(ctx); err != nil {
			return err
		}
		handler, err := n.handler(ctx, withDocker)
		if err != nil {
			return err
		}
		gate.Open(handler)
		for _, part := range beside {
			group.Go(func() error { return part(ctx) })
		}
		return nil
	})
	return group.Wait()
}

func runWorker(ctx context.Context, n *node) error {
	if err := n.openAll(ctx); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, part := range append(n.duties(), n.work) {
		group.Go(func() error { return part(groupCtx) })
	}
	return group.Wait()
}

func runMigrate(ctx context.Context, n *node) error {
	before, err := n.awaitSchema(ctx, "the database", func(store.Schema) bool { return true })
	if err != nil {
		return err
	}
	if n.cfg.MasterKey != "" { // it needs none, but one that is wrong is better known now
		if err := n.guardKey(ctx); err != nil {
			return err
		}
	}
	if err := n.openStore(); err != nil {
		return err
	}
	if err := n.migrate(ctx, before); err != nil {
		return err
	}
	n.log.InfoContext(ctx, "the schema is up to date")
	return nil
}

// migrate brings the schema up to date, and notes which release has done so.
func (n *node) migrate(ctx context.Context, before store.Schema) error {
	if !before.Current() {
		n.log.InfoContext(ctx, "migrating the schema", "from", before.Version, "to", before.Want)
	}
	if err := n.store.Migrate(ctx, n.log); err != nil {
		return err
	}
	if before.Current() && before.Release != "" {
		return nil
	}
	return n.store.PutRelease(ctx, version)
}
