package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

// fleet is several hosts while they are imported.
type fleet []fleetHost

// fleetHost is one of them, as it was seen last.
type fleetHost struct {
	id, name      string
	state, reason string     // of the host
	job           client.Job // its import; without an id: not seen yet
}

func newFleet(ids []string) fleet {
	f := make(fleet, len(ids))
	for i, id := range ids {
		f[i] = fleetHost{id: id, name: id, state: client.HostImporting}
	}
	return f
}

// done reports whether the import of the host has ended.
func (h *fleetHost) done() bool { return h.state != client.HostImporting }

// failed reports whether it has ended without success.
func (h *fleetHost) failed() bool { return h.state == client.HostFailed || h.state == hostGone }

// hostGone stands for a host that was deleted meanwhile.
const hostGone = "deleted"

func (h *fleetHost) why() string {
	if e := h.job.Error; e != nil && h.reason == "" {
		return orElse(e.Message, h.state)
	}
	return orElse(h.reason, h.state)
}

// ended counts the hosts that are online, and gives those that failed.
func (f fleet) ended() (online int, failed []fleetHost) {
	for _, h := range f {
		switch {
		case h.failed():
			failed = append(failed, h)
		case h.done():
			online++
		}
	}
	return online, failed
}

// total says how far all of them are.
func (f fleet) total() string {
	online, failed := f.ended()
	return fmt.Sprintf("%d of %d online, %d failed, %d under way", online, len(f), len(failed),
		len(f)-online-len(failed))
}

// step gives the step that the host is at.
func (h *fleetHost) step() (client.Step, bool) {
	for i := len(h.job.Steps) - 1; i >= 0; i-- {
		if s := h.job.Steps[i]; s.State != client.StepWaiting && s.State != client.StepUndone {
			return s, true
		}
	}
	return client.Step{}, false
}

// importWatch follows the hosts of an import. The API lists no children of a job: each host names
// the job that is at it.
type importWatch struct {
	cl    *client.Client
	fleet fleet
	next  int // where to go on
}

// looksAtOnce limits how many hosts are looked at before the display is drawn again: all requests
// of a caller are counted, and a file may have thousands of hosts.
const looksAtOnce = 12

// look sees how far some of the hosts are that have not ended: all of them, in turns.
func (w *importWatch) look(ctx context.Context, most int) {
	for range len(w.fleet) {
		if most == 0 || ctx.Err() != nil {
			return
		}
		h := &w.fleet[w.next]
		w.next = (w.next + 1) % len(w.fleet)
		if !h.done() {
			w.lookAt(ctx, h)
			most--
		}
	}
}

// lookAt sees how far one host is. What cannot be read now is seen the next time.
func (w *importWatch) lookAt(ctx context.Context, h *fleetHost) {
	if h.job.ID != "" {
		job, err := w.cl.Job(ctx, h.job.ID, 0)
		if err != nil {
			return
		}
		if h.job = job; !job.Ended() {
			return
		}
	}
	seen, err := w.cl.Host(ctx, h.id)
	switch {
	case client.HasCode(err, client.CodeNotFound):
		h.state = hostGone
	case err != nil:
		return
	default:
		h.name, h.state, h.reason = seen.Name, seen.State, seen.Reason
	}
	if h.job.ID == "" && seen.JobID != "" {
		if job, err := w.cl.Job(ctx, seen.JobID, 0); err == nil {
			h.job = job
		}
	}
}

// followFleet waits for the job of an import, and shows the hosts on stderr meanwhile.
func (c *cli) followFleet(ctx context.Context, cmd *cobra.Command, w *importWatch, f followed) (client.Job, error) {
	view, every := c.fleetProgress(cmd.ErrOrStderr(), f.title)
	waiting, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	last, err := w.cl.WaitJob(waiting, f.job.ID, every, func(job client.Job) {
		switch {
		case every != lookEvery: // nobody watches
			return
		case job.Ended():
			w.look(waiting, len(w.fleet))
		default:
			w.look(waiting, looksAtOnce)
		}
		view.show(w.fleet)
	})
	view.close()
	if last.ID == "" {
		last = f.job
	}
	return f.ended(ctx, waiting, last, err)
}

// fleetView shows hosts to a person while they are imported.
type fleetView interface {
	show(f fleet)
	close()
}

func (c *cli) fleetProgress(w io.Writer, title string) (fleetView, time.Duration) {
	_, isTerminal := c.terminal(w)
	switch {
	case isTerminal && c.getenv("TERM") != "dumb":
		return liveFleet{c.startLive(w), title}, lookEvery
	case c.json():
		return noFleet{}, holdFor
	default:
		return &plainFleet{w: w, title: title, now: c.now, seen: map[string]map[string]string{}}, lookEvery
	}
}

type noFleet struct{}

func (noFleet) show(fleet) {}
func (noFleet) close()     {}

// liveFleet repaints the hosts.
type liveFleet struct {
	*live
	title string
}

func (l liveFleet) show(f fleet) {
	seen := append(fleet(nil), f...) // which is drawn while the next look changes f
	l.draw(func(columns int, now time.Time) []line { return renderFleet(seen, l.title, columns, now) })
}

// plainFleet writes a line whenever a step of a host, or the total, has changed.
type plainFleet struct {
	w     io.Writer
	title string
	now   func() time.Time
	seen  map[string]map[string]string // by host and step: its last line
	total string
}

func (p *plainFleet) show(f fleet) {
	for _, h := range f {
		if p.seen[h.id] == nil {
			p.seen[h.id] = map[string]string{}
		}
		for _, text := range plainLines(h.job, p.seen[h.id], p.now()) {
			_, _ = fmt.Fprintf(p.w, "import host %s: %s\n", clean(h.name), text)
		}
	}
	if total := f.total(); total != p.total {
		p.total = total
		_, _ = fmt.Fprintf(p.w, "%s: %s\n", p.title, total)
	}
}

func (p *plainFleet) close() {}

// shownHosts is how many hosts are drawn, each in a line; of more, those that are under way or
// have failed.
const shownHosts = 20

// renderFleet draws a line for each host, and below them the total: what does not fit on a screen
// is left out from above.
func renderFleet(f fleet, title string, columns int, now time.Time) []line {
	shown, name := fleet{}, 0
	for _, h := range f {
		_, begun := h.step()
		if len(f) <= shownHosts || h.failed() || begun && !h.done() {
			shown = append(shown, h)
		}
	}
	shown = shown[max(0, len(shown)-shownHosts):]
	for _, h := range shown {
		name = max(name, textWidth(clean(h.name)))
	}
	lines := make([]line, 0, len(shown)+1)
	for _, h := range shown {
		lines = append(lines, h.line(name, now))
	}
	symbol, color := frame(now), cyan
	if online, failed := f.ended(); len(failed) > 0 && online+len(failed) == len(f) {
		symbol, color = "✗", red
	} else if online == len(f) {
		symbol, color = "✓", green
	}
	lines = append(lines, line{0, symbol, color, title + "  " + f.total()})
	for i := range lines {
		lines[i].text = cut(lines[i].text, columns-1-lines[i].indent-2)
	}
	return lines
}

// line draws one host: its name in so many columns, and what it is at.
func (h *fleetHost) line(name int, now time.Time) line {
	text := fmt.Sprintf("%s%*s", clean(h.name), name-textWidth(clean(h.name)), "")
	switch {
	case h.failed():
		return line{2, "✗", red, text + "  " + clean(h.why())}
	case h.done():
		return line{2, "✓", green, text + "  " + clean(h.state)}
	}
	s, begun := h.step()
	if !begun {
		return line{2, "·", faint, text + "  waiting"}
	}
	text += fmt.Sprintf("  %3d%%  %s  %s", h.job.Progress, clean(s.Name), duration(elapsed(s, now)))
	if more := stepText(s); more != "" {
		text += "  " + more
	}
	return line{2, frame(now), cyan, text}
}
