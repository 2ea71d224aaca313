package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

const defaultTimeout = 10 * time.Minute

// createFlags are the flags of `berth create`, as they were written.
type createFlags struct {
	name, version, plan string
	cpu                 float64
	memory, disk        string
	params, labels      []string
	callbackURL         string
	requireTLS          bool
	idempotencyKey      string
	jobTimeout          time.Duration
	onFailure           string
	place               placeFlags
	wait                bool
	timeout             time.Duration
}

func (c *cli) createCommand() *cobra.Command {
	var f createFlags
	cmd := &cobra.Command{
		Use:   "create ENGINE",
		Short: "Create an instance",
		Example: `  berth create redis --wait
  berth create mysql --name orders --plan medium --param charset=latin1 --wait
  berth create redis --region eu-west --group cache --spread rack --strict
  id=$(berth create redis --wait -o json | jq -r .instance.id)`,
		Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			return c.create(ctx, cmd, args[0], f)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "name of the instance (default: generated)")
	flags.StringVar(&f.version, "version", "", "version of the engine (default: the engine's)")
	flags.StringVar(&f.plan, "plan", "", "plan of the engine; see berth engines (default: the engine's)")
	flags.Float64Var(&f.cpu, "cpu", 0, "cores, overriding the plan's")
	flags.StringVar(&f.memory, "memory", "", "memory, overriding the plan's: a `size` such as 512mb or 2g")
	flags.StringVar(&f.disk, "disk", "", "disk, overriding the plan's: a `size` such as 10g")
	flags.StringArrayVar(&f.params, "param", nil, "a parameter of the engine, `name=value`; repeatable")
	flags.StringArrayVar(&f.labels, "label", nil, "a label, `name=value`; repeatable")
	flags.BoolVar(&f.requireTLS, "require-tls", false, "have the server refuse connections without TLS")
	flags.StringVar(&f.callbackURL, "callback-url", "", "`url` that receives a signed POST when the job ends")
	flags.StringVar(&f.idempotencyKey, "idempotency-key", "", "key that makes the command safe to repeat (default: random)")
	flags.DurationVar(&f.jobTimeout, "job-timeout", 0, "time limit of the job (default: the server's)")
	flags.StringVar(&f.onFailure, "on-failure", "", "cleanup removes a failed instance, keep leaves it for inspection for a limited time (default: cleanup)")
	f.place.add(cmd)
	waitFlags(cmd, &f.wait, &f.timeout)
	return cmd
}

func waitFlags(cmd *cobra.Command, wait *bool, timeout *time.Duration) {
	cmd.Flags().BoolVar(wait, "wait", false, "wait for the job to end and show its steps")
	cmd.Flags().DurationVar(timeout, "timeout", defaultTimeout, "how long to wait; the job continues afterwards")
}

func (c *cli) create(ctx context.Context, cmd *cobra.Command, engine string, f createFlags) error {
	// An empty value is a shell variable that was not set, hardly ever a wish.
	names := []string{"name", "version", "plan", "callback-url", "idempotency-key", "memory", "disk", "on-failure"}
	if err := noneEmpty(cmd, append(names, placeNames...)); err != nil {
		return err
	}
	if strings.ContainsFunc(f.idempotencyKey, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return usagef(cmd, "--idempotency-key must be visible ASCII characters only")
	}
	req, err := f.request(cmd)
	if err != nil {
		return err
	}
	if f.timeout <= 0 {
		return usagef(cmd, "--timeout must be above 0")
	}
	params, err := parsePairs("--param", f.params)
	if err != nil {
		return usagef(cmd, "%v", err)
	}
	cl, err := c.client(cmd)
	if err != nil {
		return err
	}
	if req.Parameters, err = typedParameters(ctx, cl, engine, params); err != nil {
		return err
	}
	key := orElse(f.idempotencyKey, rand.Text())
	accepted, err := cl.Create(ctx, engine, key, req)
	if errors.Is(err, context.Canceled) {
		return &interruptedError{note: "interrupted before Berth responded; it may have accepted the request. " +
			"Check with berth ls, or repeat the command with --idempotency-key " + key}
	}
	if err != nil {
		return err
	}
	if !f.wait {
		return c.showAccepted(cmd.OutOrStdout(), accepted, f)
	}
	return c.finishCreate(ctx, cmd, cl, accepted, f)
}

// noneEmpty refuses flags that are given and empty.
func noneEmpty(cmd *cobra.Command, names []string) error {
	for _, name := range names {
		if flag := cmd.Flag(name); flag.Changed && flag.Value.String() == "" {
			return usagef(cmd, "--%s is empty", name)
		}
	}
	return nil
}

// request builds what the flags alone decide.
func (f createFlags) request(cmd *cobra.Command) (client.CreateRequest, error) {
	req := client.CreateRequest{Name: f.name, Version: f.version, Plan: f.plan, CallbackURL: f.callbackURL, RequireTLS: f.requireTLS, OnFailure: f.onFailure}
	if cmd.Flag("job-timeout").Changed {
		req.Timeout = f.jobTimeout.String()
	}
	var err error
	if req.Labels, err = parsePairs("--label", f.labels); err != nil {
		return req, usagef(cmd, "%v", err)
	}
	if req.Placement, err = f.place.placement(cmd); err != nil {
		return req, err
	}
	var r client.Resources
	if cmd.Flag("cpu").Changed {
		if r.CPU = f.cpu; !(r.CPU > 0 && r.CPU < 1e6) {
			return req, usagef(cmd, "--cpu must be a number above 0, not %v", f.cpu)
		}
	}
	for text, field := range map[*string]*int64{&f.memory: &r.Memory, &f.disk: &r.Disk} {
		if *text == "" {
			continue
		}
		if *field, err = parseBytes(*text); err != nil {
			return req, usagef(cmd, "%v", err)
		}
	}
	if r != (client.Resources{}) {
		req.Resources = &r
	}
	return req, nil
}

// typedParameters gives the values the types that the engine's schema wants. An
// engine or a parameter that is not known is for the server to refuse.
func typedParameters(ctx context.Context, cl *client.Client, engine string, params map[string]string) (map[string]any, error) {
	if len(params) == 0 {
		return nil, nil
	}
	page, err := cl.Engines(ctx)
	if err != nil {
		return nil, err
	}
	var schema client.Schema
	for _, e := range page.Items {
		if e.Name == engine {
			schema = e.Parameters
		}
	}
	out := make(map[string]any, len(params))
	for name, text := range params {
		out[name] = schema.Value(name, text)
	}
	return out, nil
}

func (c *cli) showAccepted(w io.Writer, a client.Accepted, f createFlags) error {
	if c.json() {
		return printJSON(w, a)
	}
	p := printer{w: w}
	p.linef("Creating %s %s (%s).", clean(a.Instance.Engine), clean(a.Instance.Name), clean(a.Instance.ID))
	p.linef("Wait for it: berth wait %s", clean(a.Job.ID))
	p.secret(a, f)
	return p.err
}

// finishCreate waits for the job and then for nothing more: the instance must run.
func (c *cli) finishCreate(ctx context.Context, cmd *cobra.Command, cl *client.Client, a client.Accepted, f createFlags) error {
	title := fmt.Sprintf("create %s %s", clean(a.Instance.Engine), clean(a.Instance.Name))
	job, outcome := c.follow(ctx, cmd, cl, followed{job: a.Job, title: title, timeout: f.timeout})
	a.Job = job
	if ctx.Err() == nil {
		instance, err := cl.Instance(ctx, a.Instance.ID)
		switch {
		case err == nil:
			a.Instance = instance
		case outcome == nil:
			outcome = err
		}
	}
	if outcome == nil && a.Instance.State != client.InstanceRunning {
		outcome = fmt.Errorf("%s %s is %s, not running: %s", clean(a.Instance.Engine), clean(a.Instance.Name),
			clean(a.Instance.State), clean(a.Instance.Reason))
	}
	p := printer{w: cmd.OutOrStdout()}
	switch {
	case c.json():
		p.err = printJSON(p.w, a)
	case outcome == nil:
		p.linef("%s %s is running at %s.", clean(a.Instance.Engine), clean(a.Instance.Name), clean(endpointText(a.Instance.Endpoint)))
		p.linef("To connect: berth config %s", clean(a.Instance.Name))
		p.secret(a, f)
	default:
		// It is shown this once only; the callback comes whatever became of the job.
		p.secret(a, f)
	}
	return firstError(outcome, p.err)
}

// printer writes lines and remembers the first failure.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) linef(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// secret shows what the callback is signed with, to those who asked for one.
func (p *printer) secret(a client.Accepted, f createFlags) {
	if f.callbackURL != "" && a.WebhookSecret != "" {
		p.linef("Secret that signs the callback (shown only once): %s", clean(a.WebhookSecret))
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
