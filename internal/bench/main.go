// Command bench measures Berth beside what it stands on: bare calls to the Docker
// engine for the same server, in the same run, turn by turn, so that the ratio
// holds on a noisy machine. It prints a table, and JSON with -json.
//
// It is a measurement, not a test: it fails only if something does not work.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	options := options{}
	flag.StringVar(&options.binary, "bin", envOr("BERTH_BIN", "bin/berth"), "the berth binary")
	flag.IntVar(&options.accepts, "accepts", 400, "POSTs one after the other, for the latency")
	flag.DurationVar(&options.storm, "storm", 5*time.Second, "how long POSTs come from 16 clients, for the rate")
	flag.IntVar(&options.pairs, "pairs", 7, "turns of Berth and bare Docker for each engine")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	rows, err := run(ctx, options)
	stop()
	if err == nil {
		err = show(os.Stdout, rows, *asJSON)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	binary  string
	accepts int
	storm   time.Duration
	pairs   int
}

// row is one line of the result.
type row struct {
	What    string  `json:"what"`
	N       int     `json:"n"`
	Median  float64 `json:"median"`
	P99     float64 `json:"p99,omitempty"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	Unit    string  `json:"unit"`
	Bare    float64 `json:"bare_median,omitempty"`
	Ratio   float64 `json:"ratio_median,omitempty"`
	Comment string  `json:"comment,omitempty"`
}

func run(ctx context.Context, o options) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "berth-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	accept, err := measureAccept(ctx, o, dir)
	if err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	notice, err := measureNotice(ctx, o, dir)
	if err != nil {
		return nil, fmt.Errorf("notice: %w", err)
	}
	toRunning, err := measureToRunning(ctx, o, dir)
	if err != nil {
		return nil, fmt.Errorf("POST to running: %w", err)
	}
	return slices.Concat(accept, notice, toRunning), nil
}

func show(out io.Writer, rows []row, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(rows)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "WHAT\tN\tMEDIAN\tP99\tMIN\tMAX\tUNIT\tBARE DOCKER\tRATIO\t")
	for _, r := range rows {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%.2f\t%s\t%.2f\t%.2f\t%s\t%s\t%s\t%s\n",
			r.What, r.N, r.Median, orDash(r.P99), r.Min, r.Max, r.Unit, orDash(r.Bare), orDash(r.Ratio), r.Comment)
	}
	return w.Flush()
}

func orDash(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
