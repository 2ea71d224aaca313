package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
)

func at(seconds float64) *time.Time {
	t := noon.Add(time.Duration(seconds * float64(time.Second)))
	return &t
}

func drawn(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.paint(false) + "\n")
	}
	return b.String()
}

func TestRenderJob(t *testing.T) {
	running := client.Job{State: client.JobRunning, Progress: 40, Steps: []client.Step{
		{Name: "reserve", State: client.StepDone, Attempt: 1, Detail: "127.0.0.1:20001", StartedAt: at(-3), FinishedAt: at(-2.9)},
		{Name: "image", State: client.StepRunning, Attempt: 2, Detail: "pulling redis:8\n\x1b[2Jlayer 3 of 7", StartedAt: at(-2.9)},
		{Name: "ready", State: client.StepWaiting},
	}}
	failed := client.Job{State: client.JobFailed, Progress: 0, Steps: []client.Step{
		{Name: "データ", State: client.StepUndone, Attempt: 1, StartedAt: at(-200), FinishedAt: at(-10)},
		{Name: "ready", State: client.StepFailed, Attempt: 1, Detail: "PING", Error: "no PONG", StartedAt: at(-5), FinishedAt: at(-1)},
	}}
	ahead := client.Job{State: client.JobQueued, Steps: []client.Step{{Name: "x", State: client.StepRunning, StartedAt: at(60)}}}
	tests := []struct {
		name    string
		job     client.Job
		columns int
		want    string
	}{
		{"wide", running, 80, "" +
			"⠋ create redis cache  running 40%\n" +
			"  ✓ reserve    0.1s  127.0.0.1:20001\n" +
			"  ⠋ image      2.9s  attempt 2  pulling redis:8 [2Jlayer 3 of 7\n" +
			"  · ready\n"},
		{"narrow", running, 30, "" +
			"⠋ create redis cache  runnin…\n" +
			"  ✓ reserve    0.1s  127.0.0…\n" +
			"  ⠋ image      2.9s  attempt…\n" +
			"  · ready\n"},
		{"hardly any room", running, 4, "⠋ …\n  ✓\n  ⠋\n  ·\n"},
		{"failed and undone", failed, 80, "" +
			"✗ create redis cache  failed 0%\n" +
			"  ↺ データ   3m10s\n" +
			"  ✗ ready     4.0s  no PONG\n"},
		{"clock of the server ahead", ahead, 80, "⠋ create redis cache  queued 0%\n  ⠋ x    0.0s\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lines := renderJob(tt.job, "create redis cache", tt.columns, noon)
			if got := drawn(lines); got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
			for _, l := range lines {
				if l.text != "" && l.width() > tt.columns-1 {
					t.Errorf("%q is %d columns wide", l.text, l.width())
				}
			}
		})
	}
	later := renderJob(running, "x", 80, noon.Add(frameTime))
	if later[0].symbol != "⠙" {
		t.Errorf("the spinner stands still at %s", later[0].symbol)
	}
}

func TestPainterRepaintsInPlace(t *testing.T) {
	var out bytes.Buffer
	size := terminalSize{40, 24}
	p := &painter{w: &out, now: func() time.Time { return noon }, size: func() terminalSize { return size }}
	job := client.Job{State: client.JobRunning, Steps: []client.Step{{Name: "image", State: client.StepRunning, Detail: "0123456789"}}}
	p.picture = func(columns int, now time.Time) []line { return renderJob(job, "create", columns, now) }
	p.paint()
	if want := "\r\x1b[J⠋ create  running 0%\n  ⠋ image          0123456789\n"; out.String() != want {
		t.Errorf("first: %q", out.String())
	}
	out.Reset()
	p.paint()
	if !strings.HasPrefix(out.String(), "\x1b[2A\r\x1b[J⠋") {
		t.Errorf("again: %q", out.String())
	}
	out.Reset()
	size.width = 16 // the two lines have become two and two
	p.paint()
	if !strings.HasPrefix(out.String(), "\x1b[4A\r\x1b[J⠋") {
		t.Errorf("narrower: %q", out.String())
	}
	size.height = 2
	out.Reset()
	p.paint()
	if got := strings.Count(out.String(), "\n"); got != 1 {
		t.Errorf("%d lines on a screen of two", got)
	}
}

func TestFormats(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "512mb": 512 << 20, "512 MiB": 512 << 20, "1.5g": 3 << 29, "2T": 2 << 40, "64K": 64 << 10, "7b": 7,
		"": -1, "g": -1, "-1g": -1, "0": -1, "nan": -1, "inf": -1, "1e30": -1, "5x": -1, "1bm": -1,
	} {
		if got, err := parseBytes(text); (err != nil) != (want < 0) || (err == nil && got != want) {
			t.Errorf("%q gives %d, %v; want %d", text, got, err, want)
		}
	}
	for seconds, want := range map[int]string{-5: "0s", 59: "59s", 60: "1m", 7199: "1h", 7200: "2h", 3600 * 48: "2d"} {
		if got := age(noon, noon.Add(-time.Duration(seconds)*time.Second)); got != want {
			t.Errorf("%d seconds are %q, want %q", seconds, got, want)
		}
	}
}
