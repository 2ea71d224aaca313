package main

import (
	"slices"
	"time"
)

// summary makes a row of durations, in milliseconds.
func summary(what string, took []time.Duration, withP99 bool) row {
	ms := make([]float64, len(took))
	for i, d := range took {
		ms[i] = float64(d.Microseconds()) / 1000
	}
	slices.Sort(ms)
	r := row{What: what, N: len(ms), Median: quantile(ms, 0.5), Min: ms[0], Max: ms[len(ms)-1], Unit: "ms"}
	if withP99 {
		r.P99 = quantile(ms, 0.99)
	}
	return r
}

// quantile of sorted values.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// paired adds the bare durations of the same turns: their median, and the median of
// the ratios turn by turn.
func (r row) paired(mine, bare []time.Duration) row {
	ratios := make([]float64, len(mine))
	for i := range mine {
		ratios[i] = float64(mine[i]) / float64(bare[i])
	}
	slices.Sort(ratios)
	r.Bare, r.Ratio = summary("", bare, false).Median, quantile(ratios, 0.5)
	return r
}
