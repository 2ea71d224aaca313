package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

func (c *cli) getCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "get NAME|ID",
		Short: "Show an instance",
		Args:  cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd)
			if err != nil {
				return err
			}
			i, err := cl.Find(ctx, args[0])
			if err != nil {
				return err
			}
			if c.json() {
				return printJSON(cmd.OutOrStdout(), i)
			}
			return printFacts(cmd.OutOrStdout(), instanceFacts(i, c.now()))
		}),
	}
}

func instanceFacts(i client.Instance, now time.Time) []fact {
	facts := []fact{
		{"Name", i.Name}, {"ID", i.ID},
		{"Engine", strings.TrimSpace(i.Engine + " " + i.Version)},
		{"State", i.State}, {"Reason", i.Reason},
		{"Endpoint", endpointText(i.Endpoint)},
		{"Plan", i.Plan}, {"Resources", resourcesText(i.Resources)}, {"Disk", diskText(i.Disk)},
		{"Parameters", pairs(i.Parameters)}, {"Labels", pairs(i.Labels)},
		{"Created", stamp(i.CreatedAt, now)},
	}
	if i.DeletedAt != nil {
		facts = append(facts, fact{"Deleted", stamp(*i.DeletedAt, now)})
	}
	return facts
}

// diskText says how much of the disk is used; empty: nobody has measured it yet.
func diskText(d *client.Disk) string {
	if d == nil || d.LimitBytes <= 0 {
		return ""
	}
	text := fmt.Sprintf("%s of %s used (%d %%), %s", bytesText(d.UsedBytes), bytesText(d.LimitBytes), 100*d.UsedBytes/d.LimitBytes, d.State)
	if d.Bound == "" || d.Bound == "none" {
		return text
	}
	return text + "; bounded by " + clean(d.Bound)
}

// configFlags choose one fact, bare, for $(…).
type configFlags struct{ uri, cli, file, env, jdbc, dsn, mariadb, ca, tls bool }

func (c *cli) configCommand() *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use:   "config NAME|ID",
		Short: "Show the connection details of an instance, including the password",
		Example: `  berth config orders
  eval "$(berth config orders --cli)"
  DATABASE_URL=$(berth config orders --uri) ./app
  berth config orders --ca > ca.pem; eval "$(berth config orders --cli --tls)"`,
		Args: cobra.ExactArgs(1),
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			return c.config(ctx, cmd, args[0], f)
		}),
	}
	cmd.Flags().BoolVar(&f.uri, "uri", false, "print only the URI")
	cmd.Flags().BoolVar(&f.cli, "cli", false, "print only the command line that connects")
	cmd.Flags().BoolVar(&f.file, "file", false, "print only the server's configuration file")
	cmd.Flags().BoolVar(&f.env, "env", false, "print only NAME=value lines, for a shell or an env file")
	cmd.Flags().BoolVar(&f.jdbc, "jdbc", false, "print only the JDBC URL")
	cmd.Flags().BoolVar(&f.dsn, "dsn", false, "print only the DSN of go-sql-driver/mysql")
	cmd.Flags().BoolVar(&f.mariadb, "mariadb", false, "print only the mariadb:// URI")
	cmd.Flags().BoolVar(&f.ca, "ca", false, "print only the certificate of the authority that clients verify the server by")
	cmd.Flags().BoolVar(&f.tls, "tls", false, "with --uri, --cli or --dsn: the one that connects with TLS and verifies the server by ca.pem")
	return cmd
}

func (c *cli) config(ctx context.Context, cmd *cobra.Command, name string, f configFlags) error {
	chosen := 0
	for _, on := range []bool{f.uri, f.cli, f.file, f.env, f.jdbc, f.dsn, f.mariadb, f.ca, c.json()} {
		if on {
			chosen++
		}
	}
	if chosen > 1 {
		return usagef(cmd, "choose one of --uri, --cli, --file, --env, --jdbc, --dsn, --mariadb, --ca and -o json")
	}
	if f.tls && !f.uri && !f.cli && !f.dsn {
		return usagef(cmd, "--tls goes with --uri, --cli or --dsn")
	}
	cl, err := c.client(cmd)
	if err != nil {
		return err
	}
	instance, err := cl.Find(ctx, name)
	if err != nil {
		return err
	}
	conn, err := cl.Connection(ctx, instance)
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if f.tls || f.ca {
		if conn.TLS == nil {
			return fmt.Errorf("instance %s has no certificate that clients could verify: an earlier release created it", name)
		}
		if f.tls {
			conn.URI, conn.CLI, conn.Forms.DSN = conn.TLS.URI, conn.TLS.CLI, conn.TLS.DSN
		}
	}
	switch p := (printer{w: w}); {
	case f.ca:
		_, err := io.WriteString(w, conn.TLS.CA)
		return err
	case c.json():
		return printJSON(w, conn)
	case f.uri:
		p.linef("%s", conn.URI)
		return p.err
	case f.cli:
		p.linef("%s", conn.CLI)
		return p.err
	case f.env:
		return printForm(w, "--env", conn.Engine, strings.TrimSuffix(conn.Forms.Env, "\n"))
	case f.jdbc:
		return printForm(w, "--jdbc", conn.Engine, conn.Forms.JDBC)
	case f.dsn:
		return printForm(w, "--dsn", conn.Engine, conn.Forms.DSN)
	case f.mariadb:
		return printForm(w, "--mariadb", conn.Engine, conn.Forms.MariaDB)
	case f.file:
		_, err := io.WriteString(w, conn.File.Content)
		return err
	default:
		return printFacts(w, connectionFacts(conn))
	}
}

// printForm prints one way of writing the connection, where the engine has it.
func printForm(w io.Writer, flag, engine, form string) error {
	if form == "" {
		return fmt.Errorf("%s is not available for %s; use --uri", flag, engine)
	}
	_, err := fmt.Fprintln(w, form)
	return err
}

func connectionFacts(conn client.Connection) []fact {
	facts := []fact{
		{"Host", conn.Host}, {"Port", strconv.Itoa(conn.Port)},
		{"Username", conn.Username}, {"Password", conn.Password}, {"Database", conn.Database},
		{"URI", conn.URI}, {"CLI", conn.CLI},
		{"Parameters", pairs(conn.Parameters)},
		{"File", conn.File.Name},
	}
	if conn.TLS == nil {
		return facts
	}
	use := "possible"
	if conn.TLS.Required {
		use = "required"
	}
	return append(facts, fact{"TLS", fmt.Sprintf("%s, port %d (--ca, --tls)", use, conn.TLS.Port)}, fact{"TLS URI", conn.TLS.URI})
}

// showEngine shows what one engine offers.
func (c *cli) showEngine(w io.Writer, engines []client.Engine, name string) error {
	i := slices.IndexFunc(engines, func(e client.Engine) bool { return e.Name == name })
	if i < 0 {
		names := make([]string, len(engines))
		for i, e := range engines {
			names[i] = clean(e.Name)
		}
		return fmt.Errorf("there is no engine %q; available engines: %s", name, strings.Join(names, ", "))
	}
	e := engines[i]
	if c.json() {
		return printJSON(w, e)
	}
	plans := [][]string{{"PLAN", "RESOURCES", "DESCRIPTION"}}
	for _, p := range e.Plans {
		plans = append(plans, []string{p.Name + star(p.Default), resourcesText(p.Resources), p.Description})
	}
	parameters := [][]string{{"PARAMETER", "ALLOWED", "DEFAULT", "DESCRIPTION"}}
	for _, name := range slices.Sorted(maps.Keys(e.Parameters.Properties)) {
		p := e.Parameters.Properties[name]
		parameters = append(parameters, []string{name, allowed(p), valueText(p.Default), p.Description})
	}
	out := printer{w: w}
	out.linef("%s: %s", clean(orElse(e.Title, e.Name)), clean(e.Description))
	for _, rows := range [][][]string{plans, parameters} {
		out.linef("")
		if err := printTable(w, rows); err != nil {
			return err
		}
	}
	out.linef("\n* = default")
	return out.err
}

// maxListed is how many values of a parameter a table shows.
const maxListed = 10

// allowed describes the values that a parameter takes.
func allowed(p client.Property) string {
	if len(p.Enum) > 0 {
		values := make([]string, len(p.Enum))
		for i, v := range p.Enum {
			values[i] = valueText(v)
		}
		if len(values) > maxListed {
			return fmt.Sprintf("%s, … (%d in all; -o json lists them)", strings.Join(values[:3], ", "), len(values))
		}
		return strings.Join(values, ", ")
	}
	text := strings.Join(p.Type, " or ")
	if p.Minimum != nil && p.Maximum != nil {
		text += " " + valueText(*p.Minimum) + " to " + valueText(*p.Maximum)
	}
	parts := []string{}
	if text != "" {
		parts = append(parts, text)
	}
	for _, alternative := range slices.Concat(p.OneOf, p.AnyOf) {
		parts = append(parts, allowed(alternative))
	}
	return strings.Join(parts, " or ")
}

// showJob shows one job with its steps.
func (c *cli) showJob(ctx context.Context, cmd *cobra.Command, id string) error {
	cl, err := c.client(cmd)
	if err != nil {
		return err
	}
	job, err := cl.Job(ctx, id, 0)
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if c.json() {
		return printJSON(w, job)
	}
	if err := printFacts(w, jobFacts(job, c.now())); err != nil {
		return err
	}
	out := printer{w: w}
	out.linef("")
	if out.err != nil {
		return out.err
	}
	rows := [][]string{{"STEP", "STATE", "ATTEMPT", "TOOK", "DETAIL"}}
	for _, s := range job.Steps {
		took := ""
		if s.StartedAt != nil {
			took = duration(elapsed(s, c.now()))
		}
		rows = append(rows, []string{s.Name, s.State, strconv.Itoa(s.Attempt), took, orElse(s.Error, s.Detail)})
	}
	return printTable(w, rows)
}

func jobFacts(j client.Job, now time.Time) []fact {
	about := fact{"Instance", j.InstanceID}
	if j.InstanceID == "" {
		about = fact{"About", j.Subject}
	}
	facts := []fact{
		{"Job", j.ID}, {"Kind", j.Kind}, about, {"Engine", j.Engine},
		{"State", fmt.Sprintf("%s (%d%%)", j.State, j.Progress)},
		{"Created", stamp(j.CreatedAt, now)},
	}
	if j.FinishedAt != nil {
		facts = append(facts, fact{"Finished", stamp(*j.FinishedAt, now)})
	}
	if j.Error != nil {
		facts = append(facts, fact{"Failed at", j.Error.Step}, fact{"Error", j.Error.Message},
			fact{"Hint", (&jobError{job: j}).hint()})
	}
	return facts
}
