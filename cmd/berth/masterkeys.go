package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/config"
	"github.com/berth-project/berth/internal/sealing"
	"github.com/berth-project/berth/internal/secret"
)

// addMasterKeyCommands adds the verbs of `berth keys` that work on the database, with the
// settings of the server: master keys never go through the API.
func addMasterKeyCommands(root *cobra.Command) {
	for _, group := range root.Commands() {
		if group.Name() == "keys" {
			group.AddGroup(masterKeyGroup)
			group.AddCommand(masterKeyCommands()...)
		}
	}
}

func masterKeyCommands() []*cobra.Command {
	command := func(use, short string, run func(context.Context, *node, *cobra.Command) error) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Args: usageArgs(cobra.NoArgs), GroupID: masterKeyGroup.ID, SilenceErrors: true, SilenceUsage: true,
			RunE: func(cmd *cobra.Command, _ []string) error {
				cfg, err := config.Load(config.Keys, os.Environ())
				if err != nil {
					return err
				}
				n, err := newNode(cfg, cmd.ErrOrStderr())
				if err != nil {
					return err
				}
				if err = n.openKeys(cmd.Context()); err == nil {
					err = run(cmd.Context(), n, cmd)
				}
				return errors.Join(err, n.close())
			},
		}
	}
	rotate := command("rotate", "Re-encrypt everything with the first master key, while the server runs", rotateKeys)
	rotate.Long = "Re-encrypts everything that the database holds with the first key of BERTH_MASTER_KEY (or of master.key in the data folder), while the server runs.\n\n" +
		"Before: put the new key above the old one, give both to every process and restart each. Afterwards, when nothing needs the old key any more, remove it.\n" +
		"A rotation that was cut off is run again. Run it also without a new key after an upgrade from a release without envelope encryption."
	return []*cobra.Command{rotate, command("status", "Show which master keys the database needs, and which processes have which", showKeys)}
}

var (
	apiKeyGroup    = &cobra.Group{ID: "api", Title: "API keys of a tenant, through the API:"}
	masterKeyGroup = &cobra.Group{ID: "master", Title: "Master keys, on a machine with the settings of the server:"}
)

// openKeys opens a database that is in use and whose master keys are all there.
func (n *node) openKeys(ctx context.Context) error {
	schema, err := n.guardDev(ctx)
	switch {
	case err != nil:
		return err
	case !schema.Current():
		return refuse("the database has schema version %d, and this is Berth %s with version %d; run `berth migrate` of this release first. Nothing was changed", schema.Version, version, schema.Want)
	case !schema.Used:
		return refuse("no Berth has worked on the database yet: there is nothing to re-encrypt")
	case n.vault == nil:
		return refuse("no master key is given: set BERTH_MASTER_KEY, or restore %s", n.keySource)
	}
	if err := n.openStore(); err != nil {
		return err
	}
	n.deployment, err = n.store.Deployment(ctx, "")
	return err
}

// rotatePause is between two looks at whether the processes have changed over.
const rotatePause = time.Second

func rotateKeys(ctx context.Context, n *node, cmd *cobra.Command) error {
	told := ""
	tell := func(p sealing.Progress) {
		line := fmt.Sprintf("%s: %d re-encrypted", p.Kind, p.Resealed)
		if len(p.Awaited) > 0 {
			line = "waiting for running processes to use the new key: " + strings.Join(p.Awaited, ", ")
		}
		if line != told {
			_, _ = fmt.Fprintln(cmd.ErrOrStderr(), line)
		}
		told = line
	}
	rotation := sealing.Rotation{
		Store: n.store, Keyring: n.vault, Deployment: n.deployment, Lost: n.cfg.LostKeys, Now: clock.System, Tell: tell,
		Wait: func(ctx context.Context) error { return backoff.Wait(ctx, rotatePause) },
	}
	report, err := rotation.Run(ctx)
	switch {
	case errors.Is(err, context.Canceled):
		return &interruptedError{note: fmt.Sprintf("stopped after %d values; run it again to continue. Both keys are needed until it has ended", report.Resealed)}
	case err != nil:
		return err
	}
	return n.sayRotated(cmd.OutOrStdout(), report)
}

func (n *node) sayRotated(out io.Writer, report sealing.Report) error {
	p := printer{w: out}
	p.linef("Re-encrypted %d values with master key %s.", report.Resealed, n.vault.First())
	if len(report.Left) > 0 {
		ids := make([]string, len(report.Closed))
		for i, v := range report.Closed {
			ids[i] = fmt.Sprintf("%s of %s", v.Kind, v.ID)
		}
		return errors.Join(p.err, fmt.Errorf("still needed: master key %s. Some values could not be opened (%s): they are damaged, or their key is lost. "+
			"Without any named here, a process of an older release is writing: replace it, and run this again", describeCounts(report.Left), orElse(strings.Join(ids, "; "), "none")))
	}
	if others := n.vault.KeyIDs()[1:]; len(others) > 0 {
		p.linef("Nothing needs another key: remove %s from BERTH_MASTER_KEY, or the key file, and restart the processes.", strings.Join(others, ", "))
	} else {
		p.linef("Nothing needs another key.")
	}
	return p.err
}

// describeCounts names the master keys, and how many values of each kind need each.
func describeCounts(counts []sealing.Count) string {
	seals := map[string][]string{}
	for _, c := range counts {
		id := secret.MasterKeyOf(c.KeyID)
		seals[id] = append(seals[id], fmt.Sprintf("%d %s", c.Values, c.Kind))
	}
	var all []string
	for _, id := range slices.Sorted(maps.Keys(seals)) {
		all = append(all, fmt.Sprintf("%s (%s)", id, strings.Join(seals[id], ", ")))
	}
	return strings.Join(all, " and ")
}

func showKeys(ctx context.Context, n *node, cmd *cobra.Command) error {
	check, err := n.store.KeyCheck(ctx)
	if err != nil {
		return err
	}
	counts, err := n.store.CountSealed(ctx)
	if err != nil {
		return err
	}
	holders, err := n.store.Holders(ctx, clock.System().Add(-sealing.Gone))
	if err != nil {
		return err
	}
	used := secret.MasterKeyOf(check.KeyID)
	rows := [][]string{{"MASTER KEY", "STATE", "ENCRYPTS"}}
	for _, id := range keysOf(n.vault, check, counts) {
		state := "not needed: it can be removed"
		seals := describeCounts(slices.DeleteFunc(slices.Clone(counts), func(c sealing.Count) bool { return secret.MasterKeyOf(c.KeyID) != id }))
		switch {
		case id == used:
			state = "in use"
		case seals != "" && n.vault.Has(id):
			state = "needed, until berth keys rotate"
		case seals != "":
			state = "lost"
		case id == n.vault.First():
			state = "waits for berth keys rotate"
		}
		rows = append(rows, []string{id, state, strings.TrimSuffix(strings.TrimPrefix(seals, id+" ("), ")")})
	}
	if err := printTable(cmd.OutOrStdout(), rows); err != nil {
		return err
	}
	p := printer{w: cmd.OutOrStdout()}
	if !secret.IsEnveloped(check.KeyID) {
		p.linef("Values are written as releases without envelope encryption read them. When no such process runs any more: berth keys rotate")
	}
	p.linef("")
	running := [][]string{{"PROCESS", "MASTER KEYS"}}
	for _, h := range holders {
		running = append(running, []string{h.Owner, strings.Join(h.Keys, ", ")})
	}
	return errors.Join(p.err, printTable(cmd.OutOrStdout(), running))
}

// keysOf gives the ids of all master keys that are given or needed, the given ones first.
func keysOf(v *secret.Keyring, check secret.Sealed, counts []sealing.Count) []string {
	ids := append(v.KeyIDs(), secret.MasterKeyOf(check.KeyID))
	for _, c := range counts {
		ids = append(ids, secret.MasterKeyOf(c.KeyID))
	}
	var each []string
	for _, id := range ids {
		if !slices.Contains(each, id) {
			each = append(each, id)
		}
	}
	return each
}
