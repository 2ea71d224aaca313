package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

// hostTimeout is how long is waited for a job of a host: one may pull images and install an engine.
const hostTimeout = time.Hour

// machineFlags are the flags that say what a machine is and how it is reached.
type machineFlags struct {
	client.HostRequest
	labels, disks []string
	certificates  string
	passwordStdin bool
}

func (f *machineFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.User, "user", "",
		"user to log in as by SSH: root, or one in the group docker, which is as good as root")
	flags.StringVar(&f.Region, "region", "", "region that the machine is in; see berth hosts regions")
	flags.StringVar(&f.Zone, "zone", "", "zone of the region")
	flags.StringVar(&f.Rack, "rack", "", "rack of the zone")
	flags.StringVar(&f.Endpoint, "endpoint", "",
		"how its Docker engine is reached: ssh://USER@HOST[:PORT], tcp://HOST:PORT or unix:///PATH (default: "+
			"ssh://USER@ADDRESS)")
	flags.BoolVar(&f.passwordStdin, "password-stdin", false,
		"read the password of the first login from the standard input; at a terminal it is asked for")
	flags.StringVar(&f.HostKey, "host-key", "",
		"public `key` that the machine must show (default: the one that it shows first is kept)")
	flags.StringVar(&f.certificates, "certificates", "",
		"`folder` with ca.pem, cert.pem and key.pem, which an engine that is reached by TCP is reached with")
	flags.StringVar(&f.Arch, "arch", "", "architecture that it must be of: amd64 or arm64")
	flags.StringVar(&f.Purpose, "purpose", "", "what it is meant for, for people")
	flags.StringArrayVar(&f.labels, "label", nil, "a label, `name=value`; repeatable")
	flags.StringArrayVar(&f.disks, "disk", nil,
		"a folder for data, `path:type:size[:loop]`, for example /data1:nvme:512g; with loop each instance has a file "+
			"system of its own; repeatable (default: the engine's own folder)")
}

// machine builds the machine of `add NAME ADDRESS`. The password is asked for where one may be
// needed: for a login by SSH.
func (c *cli) machine(ctx context.Context, cmd *cobra.Command, f machineFlags, args []string,
	logsIn bool) (client.HostRequest, error) {
	in := f.HostRequest
	in.Name, in.Address = args[0], args[1]
	var err error
	if in.Labels, err = parsePairs("--label", f.labels); err != nil {
		return in, usagef(cmd, "%v", err)
	}
	for _, text := range f.disks {
		disk, err := parseDisk(text)
		if err != nil {
			return in, usagef(cmd, "--disk: %v", err)
		}
		in.Disks = append(in.Disks, disk)
	}
	if f.certificates != "" {
		if in.Certificates, err = readCertificates(f.certificates); err != nil {
			return in, err
		}
	}
	bySSH := in.Endpoint == "" || strings.HasPrefix(in.Endpoint, "ssh://")
	if _, typed := terminalIn(cmd); f.passwordStdin || typed && bySSH && logsIn {
		in.Password, err = c.readSecret(ctx, cmd, "Password for the first login (empty: the machine takes Berth's "+
			"key already)")
	}
	return in, err
}

// parseDisk reads "/data1:nvme:512g", or "/data1:nvme:512g:loop".
func parseDisk(text string) (client.DiskRequest, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 3 || len(parts) > 4 || parts[0] == "" {
		return client.DiskRequest{}, fmt.Errorf("%q is not path:type:size[:enforcement], such as /data1:nvme:512g or /data1:nvme:512g:loop", text)
	}
	size, err := parseBytes(parts[2])
	disk := client.DiskRequest{Path: parts[0], Type: parts[1], Capacity: size}
	if len(parts) == 4 {
		disk.Enforcement = parts[3]
	}
	return disk, err
}

// readCertificates reads the files as Docker's own client has them in DOCKER_CERT_PATH.
func readCertificates(folder string) (*client.HostCertificates, error) {
	var out client.HostCertificates
	for name, into := range map[string]*string{"ca.pem": &out.CA, "cert.pem": &out.Cert, "key.pem": &out.Key} {
		data, err := os.ReadFile(filepath.Join(folder, name)) //nolint:gosec // the user names the folder
		if err != nil {
			return nil, fmt.Errorf("read the certificates: %w", err)
		}
		*into = string(data)
	}
	return &out, nil
}

// importFlags say how machines become hosts.
type importFlags struct {
	client.ImportOptions
	waiting
}

// waiting says whether and how long a job is waited for.
type waiting struct {
	wait    bool
	timeout time.Duration
}

func (w *waiting) add(cmd *cobra.Command) {
	waitFlags(cmd, &w.wait, &w.timeout)
	flag := cmd.Flag("timeout")
	w.timeout, flag.DefValue = hostTimeout, hostTimeout.String()
}

func (w *waiting) check(cmd *cobra.Command) error {
	if w.timeout <= 0 {
		return usagef(cmd, "--timeout must be above 0")
	}
	return nil
}

func (f *importFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.Prepare, "prepare", nil,
		"what Berth may change on the machine, separated by commas: docker, numactl, swap_off, sysctls, "+
			"mount_options (default: nothing)")
	flags.BoolVar(&f.IgnoreWarnings, "ignore-warnings", false, "go on where a check warns")
	flags.BoolVar(&f.SkipInit, "skip-init", false,
		"the machine is prepared already: do not log in to it, check or install")
	flags.BoolVar(&f.Reserved, "reserved", false, "place nothing there that does not name the host")
	flags.BoolVar(&f.DryRun, "dry-run", false, "only check what was given; nothing is accepted")
	f.waiting.add(cmd)
}

func (c *cli) hostsAddCommand() *cobra.Command {
	var (
		m machineFlags
		f importFlags
	)
	cmd := &cobra.Command{
		Use: "add NAME ADDRESS", Short: "Import a machine as a host", Args: cobra.ExactArgs(2),
		Long: "Import a machine as a host. The password of the first login is asked for at a terminal, used once, " +
			"and forgotten; it is no argument, because command lines are open to everybody on the machine.",
		Example: `  berth hosts add db-1 10.0.0.7 --user root --region eu-west --zone a --wait
  berth hosts add db-2 10.0.0.8 --user ops --region eu-west --zone b --disk /data1:nvme:512g --prepare docker --wait
  berth hosts add db-3 10.0.0.9 --user root --region eu-west --zone b --password-stdin < password.txt`,
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			in, err := c.machine(ctx, cmd, m, args, !f.SkipInit && !f.DryRun)
			if err != nil {
				return err
			}
			made, err := cl.AddHost(ctx, rand.Text(), in, f.ImportOptions)
			if err != nil {
				return ofOneHost(err)
			}
			return c.added(ctx, cmd, cl, in.Name, made, f)
		}),
	}
	m.add(cmd)
	f.add(cmd)
	return cmd
}

// ofOneHost names the fields of a refusal as they are called where there is one host only.
func ofOneHost(err error) error {
	var p *client.Problem
	if errors.As(err, &p) {
		for i := range p.Errors {
			p.Errors[i].Field = strings.TrimPrefix(p.Errors[i].Field, "hosts[0].")
		}
	}
	return err
}

// added says what became of the import of one host, and waits for its job where it is to.
func (c *cli) added(ctx context.Context, cmd *cobra.Command, cl *client.Client, name string, made client.Imported,
	f importFlags) error {
	name = clean(name)
	if made.Job == nil || len(made.Hosts) != 1 {
		return c.said(cmd, nil, made, "Host %s could be imported; nothing was changed.", name)
	}
	h, err := cl.Host(ctx, made.Hosts[0])
	if err != nil {
		return err
	}
	if !f.wait {
		return c.said(cmd, nil, made, "Importing host %s (%s). Wait for it: berth wait %s", name, clean(h.ID),
			clean(orElse(h.JobID, made.Job.ID)))
	}
	if h.JobID == "" { // it has ended meanwhile
		h.JobID = made.Job.ID
	}
	job, err := cl.Job(ctx, h.JobID, 0)
	if err != nil {
		return err
	}
	_, outcome := c.follow(ctx, cmd, cl, followed{job: job, title: "import host " + name, timeout: f.timeout})
	if all, err := cl.Job(ctx, made.Job.ID, 0); err == nil {
		made.Job = &all
	}
	return c.outcome(cmd, outcome, made, "Host %s is online.", name)
}

// outcome prints what became of a job that was waited for: its document, or in words that it succeeded.
func (c *cli) outcome(cmd *cobra.Command, outcome error, document any, format string, args ...any) error {
	p := printer{w: cmd.OutOrStdout()}
	switch {
	case c.json():
		p.err = printJSON(p.w, document)
	case outcome == nil:
		p.linef(format, args...)
	}
	return firstError(outcome, p.err)
}

func (c *cli) hostsTakeoverCommand() *cobra.Command {
	var (
		m machineFlags
		w waiting
	)
	cmd := &cobra.Command{
		Use: "takeover NAME ADDRESS", Short: "Import a machine that has instances of this deployment already, as " +
			"a reserved host", Args: cobra.ExactArgs(2),
		Long: "Import a machine that has instances of this deployment already, as a reserved host. Instances " +
			"that are written of are adopted; what is unknown is listed and left as it is.",
		Example: "  berth hosts takeover db-1 10.0.0.7 --user root --region eu-west --zone a --wait",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if err := w.check(cmd); err != nil {
				return err
			}
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			in, err := c.machine(ctx, cmd, m, args, true)
			if err != nil {
				return err
			}
			made, err := cl.TakeOverHost(ctx, in)
			if err != nil {
				return ofOneHost(err)
			}
			name := clean(made.Host.Name)
			if !w.wait {
				return c.said(cmd, nil, made, "Taking over host %s (%s). Wait for it: berth wait %s", name,
					clean(made.Host.ID), clean(made.Job.ID))
			}
			job, outcome := c.follow(ctx, cmd, cl, followed{job: made.Job, title: "take over host " + name,
				timeout: w.timeout})
			made.Job = job
			if h, err := cl.Host(ctx, made.Host.ID); err == nil {
				made.Host = h
			}
			return c.outcome(cmd, outcome, made, "Host %s is online, reserved: %s. Open it to others: berth hosts "+
				"unreserve %s", name, stepDetail(job, "adopt"), name)
		}),
	}
	m.add(cmd)
	w.add(cmd)
	return cmd
}

// stepDetail gives what a step of a job has come to.
func stepDetail(job client.Job, step string) string {
	for _, s := range job.Steps {
		if s.Name == step {
			return clean(s.Detail)
		}
	}
	return ""
}
