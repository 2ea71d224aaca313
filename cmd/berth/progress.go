package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/term"
	"golang.org/x/text/width"

	"github.com/berth-project/berth/internal/client"
)

// progress shows a job to a person while it runs. close leaves the terminal as it
// was found and may be called once only.
type progress interface {
	show(job client.Job)
	close()
}

// terminalSize is in characters.
type terminalSize struct{ width, height int }

// terminalOf gives the size of the terminal behind w, if there is one.
func terminalOf(w io.Writer) (terminalSize, bool) {
	f, ok := w.(*os.File)
	if !ok {
		return terminalSize{}, false
	}
	fd := int(f.Fd()) //nolint:gosec // a file descriptor fits
	if !term.IsTerminal(fd) {
		return terminalSize{}, false
	}
	columns, rows, err := term.GetSize(fd)
	if err != nil || columns < 1 || rows < 1 {
		return terminalSize{width: 80, height: 24}, true
	}
	return terminalSize{columns, rows}, true
}

// progress chooses the display for w, and how often a job must be looked at for it.
// Scripts that want JSON get no display, unless a person watches too.
func (c *cli) progress(w io.Writer, title string) (progress, time.Duration) {
	_, isTerminal := c.terminal(w)
	switch {
	case isTerminal && c.getenv("TERM") != "dumb":
		return liveJob{c.startLive(w), title}, lookEvery
	case c.json():
		return noProgress{}, holdFor
	default:
		return &plainProgress{w: w, title: title, now: c.now, seen: map[string]string{}}, lookEvery
	}
}

// liveJob repaints one job.
type liveJob struct {
	*live
	title string
}

func (l liveJob) show(job client.Job) {
	l.draw(func(columns int, now time.Time) []line { return renderJob(job, l.title, columns, now) })
}

type noProgress struct{}

func (noProgress) show(client.Job) {}
func (noProgress) close()          {}

// plainProgress writes a line whenever a step has changed.
type plainProgress struct {
	w     io.Writer
	title string
	now   func() time.Time
	seen  map[string]string // by step: its last line
}

func (p *plainProgress) show(job client.Job) {
	for _, line := range plainLines(job, p.seen, p.now()) {
		_, _ = fmt.Fprintf(p.w, "%s: %s\n", p.title, line)
	}
}

func (p *plainProgress) close() {}

// plainLines gives a line for each step that is not as it was seen last, and
// remembers it. Details alone make no line: a download would make hundreds.
func plainLines(job client.Job, seen map[string]string, now time.Time) []string {
	var lines []string
	for _, s := range job.Steps {
		mark := fmt.Sprint(s.State, s.Attempt, s.Error)
		if last, known := seen[s.Name]; last == mark || (!known && s.State == client.StepWaiting) {
			continue
		}
		seen[s.Name] = mark
		line := clean(s.Name) + " " + clean(s.State)
		if s.StartedAt != nil && s.State != client.StepRunning && s.State != client.StepWaiting {
			line += " after " + duration(elapsed(s, now))
		}
		if s.Attempt > 1 {
			line += fmt.Sprintf(" (attempt %d)", s.Attempt)
		}
		if text := stepText(s); text != "" {
			line += ": " + text
		}
		lines = append(lines, line)
	}
	return lines
}

// stepText is what there is to know about a step beyond its state.
func stepText(s client.Step) string {
	if s.State != client.StepDone && s.Error != "" {
		return clean(s.Error)
	}
	return clean(s.Detail)
}

// elapsed is how long a step took, or has taken so far.
func elapsed(s client.Step, now time.Time) time.Duration {
	switch {
	case s.StartedAt == nil:
		return 0
	case s.FinishedAt != nil && !s.FinishedAt.Before(*s.StartedAt):
		return s.FinishedAt.Sub(*s.StartedAt)
	default:
		return max(0, now.Sub(*s.StartedAt))
	}
}

// line is one line of the live display: a symbol that may be coloured, and text
// that is already cut to the terminal's width.
type line struct {
	indent int
	symbol string
	color  string // parameters of an SGR sequence
	text   string
}

const (
	green, red, yellow, cyan, faint = "32", "31", "33", "36", "2"
	// frameTime is how long one picture of the spinner stands.
	frameTime = 100 * time.Millisecond
)

var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

func (l line) width() int { return l.indent + 2 + textWidth(l.text) }

func (l line) paint(colored bool) string {
	symbol := l.symbol
	if colored && l.color != "" {
		symbol = "\x1b[" + l.color + "m" + symbol + "\x1b[0m"
	}
	return strings.TrimRight(strings.Repeat(" ", l.indent)+symbol+" "+l.text, " ")
}

// renderJob draws a job: a heading, and a line for each step. No line is wider
// than the terminal, less the last column, where some terminals wrap.
func renderJob(job client.Job, title string, columns int, now time.Time) []line {
	name := 0
	for _, s := range job.Steps {
		name = max(name, textWidth(clean(s.Name)))
	}
	symbol, color := jobSymbol(job.State, now)
	head := line{0, symbol, color, fmt.Sprintf("%s  %s %d%%", title, clean(job.State), job.Progress)}
	lines := []line{head}
	for _, s := range job.Steps {
		symbol, color := stepSymbol(s.State, now)
		text := clean(s.Name) + strings.Repeat(" ", name-textWidth(clean(s.Name)))
		took := ""
		if s.StartedAt != nil && s.State != client.StepWaiting {
			took = duration(elapsed(s, now))
		}
		text += fmt.Sprintf("  %6s", took)
		if s.Attempt > 1 {
			text += fmt.Sprintf("  attempt %d", s.Attempt)
		}
		if more := stepText(s); more != "" {
			text += "  " + more
		}
		lines = append(lines, line{2, symbol, color, text})
	}
	for i := range lines {
		lines[i].text = cut(strings.TrimRight(lines[i].text, " "), columns-1-lines[i].indent-2)
	}
	return lines
}

func jobSymbol(state string, now time.Time) (symbol, color string) {
	switch state {
	case client.JobSucceeded:
		return "✓", green
	case client.JobFailed, client.JobCanceled:
		return "✗", red
	default:
		return frame(now), cyan
	}
}

func stepSymbol(state string, now time.Time) (symbol, color string) {
	switch state {
	case client.StepDone:
		return "✓", green
	case client.StepFailed:
		return "✗", red
	case client.StepUndone:
		return "↺", yellow
	case client.StepRunning:
		return frame(now), cyan
	default:
		return "·", faint
	}
}

func frame(now time.Time) string {
	return spinner[int(now.UnixMilli()/frameTime.Milliseconds())%len(spinner)]
}

// textWidth counts the columns that a terminal gives to s.
func textWidth(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// cut shortens s to so many columns and shows that it did.
func cut(s string, columns int) string {
	if textWidth(s) <= columns {
		return s
	}
	if columns < 1 {
		return ""
	}
	n := 0
	for i, r := range s {
		if n += runeWidth(r); n > columns-1 {
			return strings.TrimRight(s[:i], " ") + "…"
		}
	}
	return s
}

// picture gives the lines of a display; none is wider than the terminal.
type picture func(columns int, now time.Time) []line

// painter repaints a picture in place.
type painter struct {
	w     io.Writer
	now   func() time.Time
	size  func() terminalSize
	color bool

	mu      sync.Mutex
	picture picture // nil: there is nothing to show yet
	painted []line  // what stands on the screen now
}

const hideCursor, showCursor = "\x1b[?25l", "\x1b[?25h"

// paint replaces what it painted before. One write keeps the picture whole.
func (p *painter) paint() {
	p.mu.Lock()
	defer p.mu.Unlock()
	size := p.size()
	var b strings.Builder
	// A terminal that has become narrower has wrapped our lines: count what they take now.
	up := 0
	for _, l := range p.painted {
		up += max(1, (l.width()+size.width-1)/max(1, size.width))
	}
	if up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", min(up, max(1, size.height-1)))
	}
	b.WriteString("\r\x1b[J")
	var lines []line
	if p.picture != nil {
		lines = p.picture(size.width, p.now())
	}
	// What has scrolled away cannot be repainted, so nothing may scroll.
	if room := max(1, size.height-1); len(lines) > room {
		lines = lines[len(lines)-room:]
	}
	for _, l := range lines {
		b.WriteString(l.paint(p.color) + "\n")
	}
	p.painted = lines
	_, _ = io.WriteString(p.w, b.String())
}

// live repaints a picture as time passes. It owns the goroutine that does so.
type live struct {
	*painter
	stop chan struct{}
	done chan struct{}
}

func (c *cli) startLive(w io.Writer) *live {
	p := &painter{
		w: w, now: c.now, color: c.getenv("NO_COLOR") == "",
		size: func() terminalSize { size, _ := c.terminal(w); return size },
	}
	l := &live{painter: p, stop: make(chan struct{}), done: make(chan struct{})}
	_, _ = io.WriteString(w, hideCursor)
	go l.spin()
	return l
}

func (l *live) spin() {
	defer close(l.done)
	ticker := time.NewTicker(frameTime)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
			l.paint()
		}
	}
}

func (l *live) draw(next picture) {
	l.mu.Lock()
	l.picture = next
	l.mu.Unlock()
	l.paint()
}

func (l *live) close() {
	close(l.stop)
	<-l.done
	l.paint()
	_, _ = io.WriteString(l.w, showCursor)
}
