package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/id"
	"github.com/berth-project/berth/internal/tenant"
)

// auditCommands returns `berth audit`, and it and its verbs as a list.
func (c *cli) auditCommands() (*cobra.Command, []*cobra.Command) {
	var f client.AuditFilter
	var limit int
	var since string
	cmd := &cobra.Command{
		Use: "audit", Short: "Show who did what, newest first (owners; --all: operators)", Args: cobra.NoArgs,
		Example: "  berth audit --since 24h\n  berth audit --subject ins_01J9ZQ --action instance.credentials\n  berth audit verify",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			var err error
			if f.Since, err = c.moment(since); err != nil {
				return usagef(cmd, "--since: %v", err)
			}
			return listed(c, cmd, limit, []string{"NUMBER", "TIME", "ACTION", "SUBJECT", "RESULT", "ACTOR", "ADDRESS", "DETAIL"}, "No entries.",
				func(cl *client.Client, limit int, cursor string) (client.Page[client.AuditEntry], error) {
					return cl.Audit(ctx, f, limit, cursor)
				},
				func(e client.AuditEntry) []string {
					return []string{
						strconv.FormatInt(e.Number, 10), e.CreatedAt.UTC().Format(time.RFC3339), e.Action, orElse(e.Subject, "-"), e.Result, e.Actor, orElse(e.Address, "-"), e.Detail,
					}
				})
		}),
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.All, "all", false, "the log of all tenants and of the platform, for operators")
	flags.StringVar(&f.Action, "action", "", "show only this action, such as key.create")
	flags.StringVar(&f.Subject, "subject", "", "show only what was done to this `id`")
	flags.StringVar(&f.UserID, "user", "", "show only what this user did (`id`)")
	flags.StringVar(&f.KeyID, "key", "", "show only what this API key did (`id`)")
	flags.StringVar(&f.Result, "result", "", "show only entries with this result: done, refused or replayed")
	flags.StringVar(&since, "since", "", "show only entries since this `time`, or for so long: 2026-01-31T12:00:00Z or 24h")
	flags.IntVar(&limit, "limit", defaultLimit, "maximum number to list")
	verify := c.auditVerifyCommand()
	cmd.AddCommand(verify)
	return cmd, []*cobra.Command{cmd, verify}
}

// moment reads a time, or how long it is ago.
func (c *cli) moment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return c.now().Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a time, such as 2026-01-31T12:00:00Z, nor a duration, such as 24h", text)
	}
	return at, nil
}

func (c *cli) auditVerifyCommand() *cobra.Command {
	var noted []string
	var file string
	cmd := &cobra.Command{
		Use: "verify", Short: "Check that no entry of the audit log was changed or removed (operators)", Args: cobra.NoArgs,
		Long: "Reads the whole log and checks its chain of hashes: an entry that was changed, removed or put in is named. " +
			"Somebody who can write to the database could make the whole chain anew; so write down the number and the hash that this prints, somewhere else, and give them with --noted the next time.",
		Example: "  berth audit verify\n  berth audit verify --noted 1841:9f86d081884c7d65…\n  berth audit verify --file archive.ndjson",
		RunE: c.runs(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			v, err := verifierOf(noted)
			if err != nil {
				return usagef(cmd, "--noted: %v", err)
			}
			add := func(e client.AuditEntry) error {
				v.Add(entryOf(e))
				return nil
			}
			if file != "" {
				err = eachLine(cmd.InOrStdin(), file, add)
			} else {
				var cl *client.Client
				if cl, err = c.client(cmd); err == nil {
					err = cl.EachAudit(ctx, client.AuditFilter{All: true}, add)
				}
			}
			if err != nil {
				return err
			}
			return c.printVerified(cmd.OutOrStdout(), v.Report())
		}),
	}
	cmd.Flags().StringArrayVar(&noted, "noted", nil, "`NUMBER:HASH` that was written down before; repeatable")
	cmd.Flags().StringVar(&file, "file", "", "check this file of JSON lines instead, newest first (-: the standard input): what GET /api/v1/audit?all=true returned for application/x-ndjson")
	return cmd
}

func verifierOf(noted []string) (*audit.Verifier, error) {
	v := &audit.Verifier{Noted: map[int64]string{}}
	for _, text := range noted {
		number, hash, _ := strings.Cut(text, ":")
		n, err := strconv.ParseInt(number, 10, 64)
		hash = strings.ToLower(hash)
		if err != nil || n < 1 || len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" {
			return nil, fmt.Errorf("%q is not NUMBER:HASH with a hash of 64 hexadecimal digits", text)
		}
		v.Noted[n] = hash
	}
	return v, nil
}

// eachLine reads entries from a file of JSON texts.
func eachLine(stdin io.Reader, file string, on func(client.AuditEntry) error) error {
	from := stdin
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the user names it
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	dec := json.NewDecoder(from)
	for n := 1; ; n++ {
		var e client.AuditEntry
		err := dec.Decode(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = on(e)
		}
		if err != nil {
			return fmt.Errorf("entry %d of %s: %w", n, file, err)
		}
	}
}

// entryOf returns an entry as the chain has it.
func entryOf(e client.AuditEntry) audit.Entry {
	return audit.Entry{
		Entry: tenant.Entry{
			ID: tenant.EntryID(e.ID), At: e.CreatedAt, Tenant: tenant.ID(e.TenantID), Actor: e.Actor, User: tenant.UserID(e.UserID), Key: tenant.KeyID(e.KeyID),
			Session: tenant.SessionID(e.SessionID), Origin: tenant.Origin{Address: e.Address, Request: e.RequestID}, Action: tenant.Action(e.Action), On: e.Subject,
			Job: id.Job(e.JobID), Result: tenant.Result(e.Result), Detail: e.Detail,
		},
		Number: e.Number, Previous: e.PreviousHash, Hash: e.Hash,
	}
}

// errTampered ends `audit verify` where something is wrong.
var errTampered = errors.New("the audit log is not as it was written")

type verifiedView struct {
	Intact   bool     `json:"intact"`
	Entries  int64    `json:"entries"`
	First    int64    `json:"first"`
	Last     int64    `json:"last"`
	LastHash string   `json:"last_hash"`
	Problems []string `json:"problems"`
}

func (c *cli) printVerified(w io.Writer, r audit.Report) error {
	err := error(nil)
	if len(r.Problems) > 0 {
		err = errTampered
	}
	if c.json() {
		v := verifiedView{Intact: err == nil, Entries: r.Entries, First: r.First.Number, Last: r.Last.Number, LastHash: r.Last.Hash, Problems: append([]string{}, r.Problems...)}
		return errors.Join(printJSON(w, v), err)
	}
	p := printer{w: w}
	for _, problem := range r.Problems {
		p.linef("%s", clean(problem))
	}
	switch {
	case r.Entries == 0:
		p.linef("The audit log is empty.")
	case err == nil:
		p.linef("All %d entries, numbers %d to %d, are as they were written.", r.Entries, r.First.Number, r.Last.Number)
		p.linef("Write this down, somewhere else, for the next time: --noted %d:%s", r.Last.Number, r.Last.Hash)
	}
	return errors.Join(p.err, err)
}
