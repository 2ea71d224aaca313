package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/event"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/job"
)

// importsWork is the job of a whole file.
type importsWork struct{ *job.Run }

func importsPlan() []job.StepOf[*importsWork] {
	return []job.StepOf[*importsWork]{{Name: stepHosts, Timeout: time.Minute, Do: func(ctx context.Context, w *importsWork) error { return w.wait(ctx) }}}
}

// wait waits for the jobs of the hosts, which are there from the start.
func (w *importsWork) wait(ctx context.Context) error {
	failed := w.Children(ctx, stepHosts, func(job.Tx) ([]job.Job, error) { return nil, nil })
	if failed == nil {
		return nil
	}
	message, mine := "", w.Claim().Job
	err := w.Save(ctx, func(t job.Tx) (err error) {
		message, err = explainImports(within(t), mine)
		return err
	})
	if err != nil || message == "" {
		return errors.Join(err, failed)
	}
	return fault.Errorf(fault.CodeOf(failed), failed, "%s", message)
}

// maxExplained limits how many hosts that could not be imported the job of a file names.
const maxExplained = 10

// explainImports says how many hosts are online, and why the others are not; nothing while a job of
// theirs has not ended.
func explainImports(tx Tx, parent id.Job) (string, error) {
	children, err := tx.ChildJobs(parent)
	if err != nil {
		return "", err
	}
	var failed []string
	for _, c := range children {
		if !c.State.Ended() {
			return "", nil
		}
		if c.State == job.Succeeded {
			continue
		}
		name := string(c.Subject)
		if h, err := tx.HostRow(ID(c.Subject)); err == nil {
			name = h.Name
		} else if !errors.Is(err, fault.ErrNotFound) {
			return "", err
		}
		failed = append(failed, name+": "+clip(c.Error.Message, maxReason/2))
	}
	message := fmt.Sprintf("%d of %s online", len(children)-len(failed), plural(len(children), "host"))
	if more := len(failed) - maxExplained; more > 0 {
		failed = append(failed[:maxExplained], fmt.Sprintf("and %d more: GET /hosts?state=failed lists them", more))
	}
	return message + "; " + strings.Join(failed, "; "), nil
}

func (s *Works) findImports(_ job.Tx, r *job.Run, j job.Job) (*importsWork, int64, error) {
	return &importsWork{r}, j.Fence, nil
}

// Begin implements job.Work, and so do the others: there is nothing but the jobs of the hosts.
func (w *importsWork) Begin(job.Tx, job.Job) error { return nil }

// Open implements job.Work.
func (w *importsWork) Open(context.Context) error { return nil }

// Undo implements job.Work.
func (w *importsWork) Undo(context.Context) error {
	return nil
}

// Withdraw implements job.Work.
func (w *importsWork) Withdraw(context.Context, job.Job) error { return nil }

// Scrub implements job.Work.
func (w *importsWork) Scrub(text string) string { return text }

// End implements job.Work.
func (w *importsWork) End(t job.Tx, j job.Job) (string, error) {
	children, err := t.ChildJobs(j.ID)
	if err != nil {
		return "", err
	}
	online := 0
	for _, c := range children {
		if c.State == job.Succeeded {
			online++
		}
	}
	return fmt.Sprintf("%d of %s online", online, plural(len(children), "host")), nil
}

// importsSubject is what imports of several hosts bring to their jobs: there is no more of them
// than the job.
type importsSubject struct{ subject }

// Snapshot implements job.Subject.
func (importsSubject) Snapshot(job.Tx, id.Subject) (event.Part, error) {
	return event.Part{}, fault.ErrNotFound
}
