package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/client"
)

// The exit codes of the client verbs.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitInterrupted = 130 // 128 + SIGINT, as shells have it
)

// usageError is a command line that cannot be meant.
type usageError struct{ command, message string }

func (e *usageError) Error() string { return e.message }

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{command: cmd.CommandPath(), message: fmt.Sprintf(format, args...)}
}

// usageArgs makes wrong arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef(cmd, "%v", err)
		}
		return nil
	}
}

// jobError is a job that ended without success.
type jobError struct {
	title string // what it was to do
	job   client.Job
}

func (e *jobError) Error() string {
	text := fmt.Sprintf("%s: job %s %s", e.title, e.job.ID, e.job.State)
	if why := e.job.Error; why != nil {
		if why.Step != "" {
			text += fmt.Sprintf(" at step %q", why.Step)
		}
		text += ": " + clean(why.Message)
	}
	return text
}

// hint says whether trying again can help.
func (e *jobError) hint() string {
	switch {
	case e.job.Error == nil || e.job.State == client.JobCanceled:
		return ""
	case e.job.Error.Retryable:
		return "The failure may be temporary: try again."
	default:
		return "The same request will fail again: change it first."
	}
}

// detachedError is a job that goes on without being watched any longer.
type detachedError struct {
	job  client.Job
	err  error // a context's error
	note string
}

func (e *detachedError) Error() string {
	return fmt.Sprintf("%s; job %s continues. To keep waiting: berth wait %s", e.note, e.job.ID, e.job.ID)
}

func (e *detachedError) Unwrap() error { return e.err }

// interruptedError is an interrupt that has more to say than that.
type interruptedError struct{ note string }

func (e *interruptedError) Error() string { return e.note }

func (e *interruptedError) Unwrap() error { return context.Canceled }

// errorList is what went wrong with each of several things.
type errorList []error

func (l errorList) Error() string { return errors.Join(l...).Error() }

func (l errorList) Unwrap() []error { return l }

// reportError says on w what went wrong and what to do about it, and gives the
// exit code: 0 without an error, 2 for usage, 3 if no server answers, 130 after an
// interrupt, 1 for the rest.
func reportError(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	var several errorList
	if errors.As(err, &several) {
		code := 0
		for _, e := range several {
			code = max(code, reportError(w, e))
		}
		return code
	}
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	var (
		usage       *usageError
		unreachable *client.UnreachableError
		untrusted   *tls.CertificateVerificationError
		problem     *client.Problem
		failed      *jobError
	)
	switch {
	case errors.As(err, &usage):
		line("berth: %s", usage.message)
		line("See: %s --help", usage.command)
		return exitUsage
	case errors.As(err, &unreachable) && errors.As(err, &untrusted):
		line("berth: the certificate of %s is not trusted; name a file with the certificate of its authority in BERTH_CA_FILE", unreachable.URL)
		line("  %v", untrusted.Err)
		return exitUnreachable
	case errors.As(err, &unreachable):
		line("berth: no Berth server responds at %s; start one with `make run` or set BERTH_URL", unreachable.URL)
		line("  %v", unreachable.Err)
		return exitUnreachable
	case errors.As(err, &problem):
		line("berth: %s", clean(err.Error()))
		reportProblem(line, problem)
	case errors.As(err, &failed):
		line("berth: %v", err)
		if hint := failed.hint(); hint != "" {
			line("  %s", hint)
		}
	case errors.Is(err, context.Canceled):
		line("berth: %s", interruptText(err))
		return exitInterrupted
	default:
		line("berth: %v", err)
	}
	return exitFailed
}

func reportProblem(line func(string, ...any), p *client.Problem) {
	reportFields(line, p.Errors)
	if p.JobID != "" {
		line("  Job %s is still active. Wait for it: berth wait %s", clean(p.JobID), clean(p.JobID))
	}
	if p.Status >= http.StatusInternalServerError && p.RequestID != "" && p.Code != client.CodeNoCapacity {
		line("  The server's log has more of it: request_id %s", clean(p.RequestID))
	}
	if p.Status == http.StatusUnauthorized {
		line("  The API key is read from BERTH_API_KEY, else from the context of `berth login`, else from $BERTH_DATA_DIR/admin.key (default %s/admin.key).", defaultDataDir)
	}
}

// row is the part of a field that names the row of a file: "rows[7].memory".
var row = regexp.MustCompile(`^rows\[(\d+)\]\.(.+)$`)

// reportFields says what is wrong with each field; those of one row of a file stand below it.
func reportFields(line func(string, ...any), fields []client.FieldError) {
	last := ""
	for _, f := range fields {
		at := row.FindStringSubmatch(f.Field)
		if at == nil {
			line("  %s: %s", clean(f.Field), clean(f.Message))
			continue
		}
		if at[1] != last {
			line("  row %s", at[1])
			last = at[1]
		}
		line("    %s: %s", clean(at[2]), clean(f.Message))
	}
}

func interruptText(err error) string {
	if err == context.Canceled { //nolint:errorlint // the bare error, which says nothing to people
		return "interrupted"
	}
	return err.Error()
}
