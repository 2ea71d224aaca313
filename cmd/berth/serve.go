package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/berth-project/berth/internal/config"
	"github.com/berth-project/berth/internal/redisserver"
	"github.com/berth-project/berth/internal/secret"
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
			if mode != config.Migrate && errors.Is(err, errToldToStop) {
				err = nil // that is what it was told
			}
			return errors.Join(err, n.close())
		}}
	}
	return []*cobra.Command{
		command("dev", "Run everything in one process; nothing else to install but Docker", config.Dev, runDev),
		command("api", "Serve the API (any number of these)", config.API, runAPI),
		command("worker", "Run jobs (any number of these)", config.Worker, runWorker),
		command("migrate", "Bring the database's schema up to date", config.Migrate, runMigrate),
	}
}

// runDev makes what is missing, and then runs all parts until one fails or the
// context ends.
func runDev(ctx context.Context, n *node) error {
	if err := devSecrets(n); err != nil {
		return err
	}
	if err := n.openStore(); err != nil {
		return err
	}
	if err := n.store.Migrate(ctx, n.log); err != nil {
		return err
	}
	listener, err := listen(ctx, n.cfg.HTTPAddr)
	if err != nil {
		return err
	}
	if n.cfg.RedisURL == config.RedisEmbedded {
		if err := n.embedRedis(ctx); err != nil {
			return errors.Join(err, listener.Close())
		}
	}
	if err := n.openRest(ctx); err != nil {
		return errors.Join(err, listener.Close())
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.serveAPI(groupCtx, listener, true) })
	group.Go(func() error { return n.work(groupCtx) })
	group.Go(func() error { return n.sequence(groupCtx) })
	greet(n.out, n.cfg)
	return group.Wait()
}

// embedRedis starts a Redis in this process. It outlives ctx: the parts that use it
// stop first.
func (n *node) embedRedis(ctx context.Context) error {
	server, err := redisserver.Start(secret.APIKey())
	if err != nil {
		return err
	}
	n.cfg.RedisURL = server.URL()
	runCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- server.Run(runCtx) }()
	n.closers = append(n.closers, func() error {
		stop()
		return <-done
	})
	return nil
}

// devSecrets makes the master key and the admin key at the first start.
func devSecrets(n *node) error {
	var err error
	if n.cfg.MasterKey == "" {
		if n.cfg.MasterKey, _, err = secret.FileOrMake(n.cfg.DataDir+"/master.key", secret.MasterKey); err != nil {
			return err
		}
	}
	if n.cfg.AdminKey == "" {
		n.cfg.AdminKey, _, err = secret.FileOrMake(n.cfg.DataDir+"/"+adminKeyFile, secret.APIKey)
	}
	return err
}

// adminKeyFile is where dev keeps its key, and where the client verbs look for it.
const adminKeyFile = "admin.key"

// greet tells a person at a terminal what to do next.
func greet(out io.Writer, cfg config.Config) {
	url := "http://" + cfg.HTTPAddr
	verb := "bin/berth"
	if url != defaultURL {
		verb = "BERTH_URL=" + url + " " + verb
	}
	if cfg.DataDir != defaultDataDir {
		verb = "BERTH_DATA_DIR=" + cfg.DataDir + " " + verb
	}
	_, _ = fmt.Fprintf(out, `
  Berth is ready:  %[1]s
  API reference:   %[1]s/docs/
  Queues:          %[1]s/queues   (any user name; the password is the admin key)
  Admin key:       %[2]s/`+adminKeyFile+`   (unless BERTH_ADMIN_KEY is set)

  Try, in another terminal:

    %[3]s create redis --name my-redis --wait
    %[3]s config my-redis

    curl -H "Authorization: Bearer $(cat %[2]s/`+adminKeyFile+`)" -X POST %[1]s/api/v1/storage/mysql/instances

`, url, cfg.DataDir, verb)
}

func runAPI(ctx context.Context, n *node) error {
	if err := n.openAll(ctx); err != nil {
		return err
	}
	listener, err := listen(ctx, n.cfg.HTTPAddr)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.serveAPI(groupCtx, listener, false) })
	group.Go(func() error { return n.sequence(groupCtx) })
	return group.Wait()
}

func runWorker(ctx context.Context, n *node) error {
	if err := n.openAll(ctx); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.work(groupCtx) })
	group.Go(func() error { return n.sequence(groupCtx) })
	return group.Wait()
}

func runMigrate(ctx context.Context, n *node) error {
	if err := n.openStore(); err != nil {
		return err
	}
	if err := n.waitFor(ctx, "the database", n.store.Ping); err != nil {
		return err
	}
	if err := n.store.Migrate(ctx, n.log); err != nil {
		return err
	}
	n.log.InfoContext(ctx, "the schema is up to date")
	return nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w; set BERTH_HTTP_ADDR to another address", err)
	}
	return l, nil
}

// The time limits of the HTTP server. Writing may take as long as the longest long
// poll.
const (
	readHeaderTimeout = 10 * time.Second
	// readTimeout also ends the wait of a long poll: net/http watches the connection
	// under it while a handler runs.
	readTimeout  = 75 * time.Second
	writeTimeout = 90 * time.Second
	idleTimeout  = 2 * time.Minute
)

// serveHTTP serves until the context ends, goes on for the drain delay, and then lets
// requests end within the shutdown timeout.
func (n *node) serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: 64 << 10,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	n.log.InfoContext(ctx, "listening", "address", listener.Addr().String())
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-time.After(n.cfg.DrainDelay):
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.ShutdownTimeout)
	defer cancel()
	err := server.Shutdown(stopCtx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
