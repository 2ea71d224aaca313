package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one line of the result.
type row struct {
	What       string  `json:"what"`
	N          int     `json:"n"`
	Unit       string  `json:"unit"`
	Median     float64 `json:"median"`
	P10        float64 `json:"p10"`
	P90        float64 `json:"p90"`
	P99        float64 `json:"p99"`
	Min        float64 `json:"min"`
	Max        float64 `json:"max"`
	Beside     string  `json:"beside,omitempty"`
	BesideIs   float64 `json:"beside_median,omitempty"`
	Ratio      float64 `json:"ratio,omitempty"` // the median of the turns' ratios, or of the medians
	Target     float64 `json:"target,omitempty"`
	TargetOf   string  `json:"target_of,omitempty"` // ratio, median or p99, none of which may be above; or least ratio
	Met        *bool   `json:"met,omitempty"`
	Failed     string  `json:"failed,omitempty"` // why there are no figures
	sorted     []float64
	unsorted   []float64
	turnByTurn bool
}

// series makes a row of values.
func series(what, unit string, values []float64) row {
	sorted := slices.Sorted(slices.Values(values))
	r := row{What: what, N: len(sorted), Unit: unit, sorted: sorted, unsorted: values}
	if len(sorted) == 0 {
		return r
	}
	r.Median, r.P10, r.P90, r.P99 = quantile(sorted, 0.5), quantile(sorted, 0.1), quantile(sorted, 0.9), quantile(sorted, 0.99)
	r.Min, r.Max = sorted[0], sorted[len(sorted)-1]
	return r
}

// times makes a row of durations, in milliseconds.
func times(what string, took []time.Duration) row {
	ms := make([]float64, len(took))
	for i, d := range took {
		ms[i] = float64(d.Microseconds()) / 1000
	}
	return series(what, "ms", ms)
}

// failed makes a row of what gave no figures.
func failed(what string, err error) row {
	reason, _, _ := strings.Cut(err.Error(), "\n")
	return row{What: what, Failed: reason[:min(len(reason), 120)]}
}

func one(what, unit string, value float64) row { return series(what, unit, []float64{value}) }

// quantile of sorted values; the median of an even number is between the two.
func quantile(sorted []float64, q float64) float64 {
	if n := len(sorted); q == 0.5 && n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// beside compares the row with another one. In turns of one run the ratio is taken turn
// by turn.
func (r row) beside(other row) row {
	r.Beside, r.BesideIs = other.What, other.Median
	if other.Median != 0 {
		r.Ratio = r.Median / other.Median
	}
	if r.turnByTurn && other.turnByTurn && r.N == other.N {
		ratios := make([]float64, r.N)
		for i := range ratios {
			ratios[i] = r.unsorted[i] / other.unsorted[i]
		}
		slices.Sort(ratios)
		r.Ratio = quantile(ratios, 0.5)
	}
	return r
}

// inTurns says that the values were taken in turns with others.
func (r row) inTurns() row {
	r.turnByTurn = true
	return r
}

// aim says what the ratio, the median or the p99 is to be at most.
func (r row) aim(of string, target float64) row {
	r.Target, r.TargetOf = target, of
	met := map[string]float64{"ratio": r.Ratio, "median": r.Median, "p99": r.P99}[of] <= target
	r.Met = &met
	return r
}

// aimAtLeast says what the ratio is to be at least, of what is better the more it is.
func (r row) aimAtLeast(target float64) row {
	r.Target, r.TargetOf = target, leastRatio
	met := r.Ratio >= target
	r.Met = &met
	return r
}

const leastRatio = "least ratio"

func (r row) aside() string {
	if r.Beside == "" {
		return ""
	}
	return fmt.Sprintf(", %.2f times %s", r.Ratio, r.Beside)
}

func (r row) target() string {
	switch r.TargetOf {
	case "":
		return ""
	case "ratio":
		return fmt.Sprintf("%.2f×", r.Target)
	case leastRatio:
		return fmt.Sprintf("≥ %.2f×", r.Target)
	case "p99":
		return fmt.Sprintf("p99 %s %s", number(r.Target), r.Unit)
	}
	return number(r.Target) + " " + r.Unit
}

func (r row) verdict() string {
	switch {
	case r.Met == nil:
		return ""
	case *r.Met:
		return "met"
	}
	return "MISSED"
}

// show prints the table.
func show(out io.Writer, rows []row) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "WHAT\tN\tMEDIAN\tP10–P90\tP99\tUNIT\tBESIDE\tRATIO\tTARGET\tVERDICT")
	for _, r := range rows {
		beside, ratio := "", ""
		if r.Failed != "" {
			_, _ = fmt.Fprintf(w, "%s\t0\tfailed: %s\n", r.What, r.Failed)
			continue
		}
		if r.Beside != "" {
			beside, ratio = fmt.Sprintf("%s (%s)", r.Beside, number(r.BesideIs)), fmt.Sprintf("%.2f", r.Ratio)
		}
		_, _ = fmt.Fprintln(w, strings.Join([]string{
			r.What, fmt.Sprint(r.N), number(r.Median), number(r.P10) + "–" + number(r.P90), number(r.P99), r.Unit, beside, ratio, r.target(), r.verdict(),
		}, "\t"))
	}
	return w.Flush()
}

// number writes three digits that count.
func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func save(path string, rows []row) error {
	if path == "" {
		return nil
	}
	content, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o600)
}
