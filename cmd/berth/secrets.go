package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// terminalIn returns the terminal that the command is typed at, if it is.
func terminalIn(cmd *cobra.Command) (*os.File, bool) {
	f, ok := cmd.InOrStdin().(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd())) //nolint:gosec // a file descriptor is small
}

// readLine reads a line of the standard input, after a prompt if that is a terminal.
func (c *cli) readLine(cmd *cobra.Command, what string) (string, error) {
	if _, typed := terminalIn(cmd); typed {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s: ", what)
	}
	if c.lines == nil {
		c.lines = bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 1<<20))
	}
	line, err := c.lines.ReadString('\n')
	if line == "" && err != nil {
		return "", fmt.Errorf("read the %s from the standard input: %w", strings.ToLower(what), err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// readSecret is readLine without echo. Secrets are never arguments: command lines are open to
// everybody on the machine.
func (c *cli) readSecret(ctx context.Context, cmd *cobra.Command, what string) (string, error) {
	f, typed := terminalIn(cmd)
	if !typed {
		return c.readLine(cmd, what)
	}
	fd := int(f.Fd()) //nolint:gosec // a file descriptor is small
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("read the %s: %w", strings.ToLower(what), err)
	}
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s: ", what)
	defer func() { _, _ = fmt.Fprintln(cmd.ErrOrStderr()) }()
	type typedIn struct {
		text []byte
		err  error
	}
	done := make(chan typedIn, 1)
	go func() { // which an interrupt leaves behind: the program ends then
		text, err := term.ReadPassword(fd)
		done <- typedIn{text, err}
	}()
	select {
	case in := <-done:
		if in.err != nil {
			return "", fmt.Errorf("read the %s: %w", strings.ToLower(what), in.err)
		}
		return string(in.text), nil
	case <-ctx.Done():
		return "", errors.Join(ctx.Err(), term.Restore(fd, before))
	}
}

// readNewPassword reads a password that is to be set, at a terminal twice.
func (c *cli) readNewPassword(ctx context.Context, cmd *cobra.Command) (string, error) {
	password, err := c.readSecret(ctx, cmd, "New password")
	if _, typed := terminalIn(cmd); err != nil || !typed {
		return password, err
	}
	again, err := c.readSecret(ctx, cmd, "New password again")
	if err == nil && again != password {
		err = errors.New("the two passwords differ; nothing was changed")
	}
	return password, err
}
