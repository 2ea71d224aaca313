package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// A ratio is of turns where both were measured in turns, and a target is met or missed.
func TestRows(t *testing.T) {
	mine := times("mine", []time.Duration{2 * time.Millisecond, 40 * time.Millisecond, 6 * time.Millisecond}).inTurns()
	theirs := times("theirs", []time.Duration{time.Millisecond, 20 * time.Millisecond, 2 * time.Millisecond}).inTurns()
	r := mine.beside(theirs).aim("ratio", 2.5)
	if r.Median != 6 || r.BesideIs != 2 || r.Ratio != 2 || r.verdict() != "met" {
		t.Errorf("%+v", r)
	}
	missed := mine.aim("p99", 30)
	if missed.verdict() != "MISSED" || missed.target() != "p99 30 ms" || mine.verdict() != "" {
		t.Errorf("%+v", missed)
	}
	if r := series("even", "x", []float64{4, 1, 2, 3}); r.Median != 2.5 || r.Min != 1 || r.Max != 4 {
		t.Errorf("%+v", r)
	}
	var out bytes.Buffer
	if err := show(&out, []row{r, missed}); err != nil || !strings.Contains(out.String(), "theirs (2)") || !strings.Contains(out.String(), "2.50×") {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

func TestChoose(t *testing.T) {
	if all, err := choose(""); err != nil || len(all) != len(parts()) {
		t.Errorf("%d parts, %v", len(all), err)
	}
	if some, err := choose("idle, ports"); err != nil || len(some) != 2 || some[0].name != "idle" {
		t.Errorf("%+v, %v", some, err)
	}
	if _, err := choose("nothing"); err == nil {
		t.Error("an unknown part is taken")
	}
}
