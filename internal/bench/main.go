// Command bench measures Berth beside what it stands on and beside what else does its
// work: bare calls to the Docker engine, the official entrypoint, testcontainers-go,
// bare inserts. What is compared is done in turns in one run, so that the ratio holds on
// a noisy machine. It prints a table with what is aimed at, and writes the same as JSON.
//
// It is a measurement, not a test: it fails only if something does not work. It uses
// containers, volumes and databases of its own, and removes them, also when it is
// interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/berth-project/berth/internal/secret"
)

type options struct {
	binary   string
	parts    string
	runs     int
	many     int
	storm    int
	jobs     int
	workers  string
	made     int
	before   string
	mostRows int
	jsonFile string
	tc       string
}

// part is one of the measurements, which can be had alone.
type part struct {
	name, what string
	run        func(context.Context, *bench) error
}

func parts() []part {
	return []part{
		{"usable", "POST to usable and DELETE to deleted, beside bare Docker, the official entrypoint and testcontainers-go", measureUsable},
		{"many", "several at once, and many with idle and with busy cores", measureMany},
		{"accept", "POST to answer, beside two bare inserts and an enqueue, on SQLite and MySQL", measureAccept},
		{"notice", "accepted to first step, ended to answered", measureNotice},
		{"pages", "list pages at 1,000 to 1,000,000 rows", measurePages},
		{"ports", "port allocation, by workers and by how full the range is", measurePorts},
		{"jobs", "simulated jobs per second, by workers", measureJobs},
		{"hosts", "a pool of 1,000 simulated hosts: creates, placement, hierarchy, stocks, sweep, import", measureHosts},
		{"fair", "accepted to first step behind 10,000 jobs of another tenant, simulated", measureFair},
		{"sweep", "one pass of the reconciler over 10,000 containers", measureSweep},
		{"idle", "memory, CPU and start of idle processes", measureIdle},
	}
}

func main() {
	o := options{}
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	flag.StringVar(&o.binary, "bin", envOr("BERTH_BIN", "bin/berth"), "the berth binary")
	flag.StringVar(&o.parts, "parts", "", "which parts, comma-separated: "+strings.Join(names, ",")+" (default: all)")
	flag.IntVar(&o.runs, "runs", 7, "turns of what is compared")
	flag.IntVar(&o.many, "many", 20, "how many are made at once")
	flag.IntVar(&o.storm, "storm", 200, "how many Redis are made at once, quiet and with all cores busy")
	flag.IntVar(&o.jobs, "jobs", 4000, "simulated jobs for each number of workers")
	flag.StringVar(&o.workers, "workers", "", "by how many workers simulated jobs are done, comma-separated (default: 1,2,4)")
	flag.IntVar(&o.made, "instances", 1400, "how many instances the part hosts creates through the API, up to 100000")
	flag.StringVar(&o.before, "before", "", "a berth binary of an earlier release, which the part hosts takes turns with; empty: none")
	flag.IntVar(&o.mostRows, "rows", 1_000_000, "the most rows that pages are read from")
	flag.StringVar(&o.jsonFile, "json", "bench.json", "where to write the result as JSON; empty: nowhere")
	flag.StringVar(&o.tc, "testcontainers", "internal/bench/testcontainers", "the folder of the module that uses testcontainers-go; empty: leave it out")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	rows, err := run(ctx, o)
	stop()
	if len(rows) > 0 {
		err = errors.Join(show(os.Stdout, rows), save(o.jsonFile, rows), err)
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	options
	id     string // of what it makes on the engine
	dir    string
	docker *bareDocker
	// masterKey is the setting of all servers: parts that use the same database need the same.
	masterKey string
	rows      []row
	out       io.Writer
	tcs       *testcontainers // nil: not asked for yet, or not to be had
}

func run(ctx context.Context, o options) (rows []row, err error) {
	chosen, err := choose(o.parts)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "berth-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, dir: dir, id: runID(), docker: newBareDocker(), out: os.Stderr, masterKey: "BERTH_MASTER_KEY=" + secret.MasterKey()}
	defer func() {
		rows = b.rows
		err = errors.Join(err, b.tcs.close(), b.docker.removeAll(context.WithoutCancel(ctx), "berth.bench="+b.id), os.RemoveAll(dir))
	}()
	for _, p := range chosen {
		begun := time.Now()
		b.say("%s: %s", p.name, p.what)
		if err := p.run(ctx, b); err != nil {
			return b.rows, fmt.Errorf("%s: %w", p.name, err)
		}
		b.say("%s: done after %s", p.name, time.Since(begun).Round(time.Second))
	}
	return b.rows, nil
}

func choose(names string) ([]part, error) {
	all := parts()
	if names == "" {
		return all, nil
	}
	var chosen []part
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(p part) bool { return p.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("there is no part %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.out, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// add takes a row into the result, and shows it at once.
func (b *bench) add(rows ...row) {
	for _, r := range rows {
		b.rows = append(b.rows, r)
		b.say("  %s: %s %s%s", r.What, number(r.Median), r.Unit, r.aside())
	}
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
