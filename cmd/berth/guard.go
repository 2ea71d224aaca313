package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-project/berth/internal/sealing"
	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/store"
)

// refusal is a start that must not be: waiting does not help, a person must do something.
// Nothing has been made or written by then.
type refusal struct{ message string }

func (r *refusal) Error() string { return r.message }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// awaitSchema waits until the schema of the database is good enough, and refuses one that a
// newer release has made.
func (n *node) awaitSchema(ctx context.Context, what string, good func(store.Schema) bool) (store.Schema, error) {
	var schema store.Schema
	err := n.waitFor(ctx, what, func(ctx context.Context) (err error) {
		if schema, err = n.lookAtSchema(ctx); err != nil {
			return err
		}
		if !good(schema) {
			return fmt.Errorf("the schema is at version %d, want %d", schema.Version, schema.Want)
		}
		return nil
	})
	return schema, err
}

// lookAtSchema refuses a database that a newer release has migrated: this one does not know
// what its rows mean.
func (n *node) lookAtSchema(ctx context.Context) (store.Schema, error) {
	if err := store.CheckURL(n.cfg.DatabaseURL); err != nil {
		return store.Schema{}, refuse("BERTH_DATABASE_URL: %v", err)
	}
	schema, err := store.LookAtSchema(ctx, n.cfg.DatabaseURL)
	if err != nil || !schema.Newer() {
		return schema, err
	}
	by := "a newer release"
	if schema.Release != "" && schema.Release != version {
		by = "Berth " + schema.Release
	}
	return schema, refuse("the database was migrated by %s to schema version %d; this is Berth %s, which supports versions up to %d; nothing was changed. "+
		"Start %s or later, or restore a backup of the database from before the migration",
		by, schema.Version, version, schema.Want, by)
}

// guardDev looks at what is there before anything is made.
func (n *node) guardDev(ctx context.Context) (store.Schema, error) {
	schema, err := n.lookAtSchema(ctx)
	if err != nil {
		return schema, err
	}
	samples, err := store.LookAtSealed(ctx, n.cfg.DatabaseURL)
	if err != nil {
		return schema, err
	}
	if n.cfg.MasterKey != "" {
		if err := n.readMasterKey(); err != nil {
			return schema, err
		}
		return schema, n.checkKey(samples)
	}
	n.keySource = filepath.Join(n.cfg.DataDir, masterKeyFile)
	text, err := os.ReadFile(n.keySource)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return schema, fmt.Errorf("master key: %w", err)
	case strings.TrimSpace(string(text)) != "":
		if n.vault, err = secret.NewKeyring(string(text)); err != nil {
			return schema, fmt.Errorf("%s: %w", n.keySource, err)
		}
		return schema, n.checkKey(samples)
	case schema.Used:
		return schema, n.checkNoKey(samples, err != nil)
	}
	return schema, nil
}

// checkNoKey refuses to make a master key for a database that has one already, unless that is
// lost for good.
func (n *node) checkNoKey(samples []sealing.Value, missing bool) error {
	problem := "is empty"
	if missing {
		problem = "is missing"
	}
	all := sealing.MissingKeys(nil, samples)
	if len(all) == 0 {
		return refuse("%s %s, but the database has been used with a master key. Restore that file, or set BERTH_MASTER_KEY; nothing was created or changed. "+
			"If it is lost: nothing in the database needs it, and `openssl rand -base64 32 > %s` creates a new one", n.keySource, problem, n.keySource)
	}
	wanted := n.withoutLost(all)
	if len(wanted) == 0 {
		return nil
	}
	return refuse("%s %s, but the database holds data sealed with master key %s. Restore that file, or set BERTH_MASTER_KEY to that key; "+
		"nothing was created or changed. %s", n.keySource, problem, describe(wanted), ifLost(wanted))
}

// readMasterKey reads the key that was set.
func (n *node) readMasterKey() error {
	n.keySource = "BERTH_MASTER_KEY"
	text, err := secret.FileOrValue(n.cfg.MasterKey)
	if err != nil {
		return fmt.Errorf("%s: %w", n.keySource, err)
	}
	if text != n.cfg.MasterKey {
		n.keySource += " (" + n.cfg.MasterKey + ")"
	}
	if n.vault, err = secret.NewKeyring(text); err != nil {
		return fmt.Errorf("%s: %w", n.keySource, err)
	}
	return nil
}

// guardKey refuses a master key that does not open what the database holds.
func (n *node) guardKey(ctx context.Context) error {
	if n.vault == nil {
		if err := n.readMasterKey(); err != nil {
			return err
		}
	}
	var samples []sealing.Value
	err := n.waitFor(ctx, "the database", func(ctx context.Context) (err error) {
		samples, err = store.LookAtSealed(ctx, n.cfg.DatabaseURL)
		return err
	})
	if err != nil {
		return err
	}
	return n.checkKey(samples)
}

func (n *node) checkKey(samples []sealing.Value) error {
	wanted := n.withoutLost(sealing.MissingKeys(n.vault, samples))
	if len(wanted) == 0 {
		return nil
	}
	return refuse("%s has master key %s, but the database holds data sealed with %s; nothing was changed. "+
		"Set the key that the database was used with; keep a replaced key on a line below the new one. %s",
		n.keySource, strings.Join(n.vault.KeyIDs(), ", "), describe(wanted), ifLost(wanted))
}

// withoutLost leaves out the keys that the operator has given up.
func (n *node) withoutLost(keys []sealing.MissingKey) []sealing.MissingKey {
	return slices.DeleteFunc(keys, func(k sealing.MissingKey) bool { return slices.Contains(n.cfg.LostKeys, k.ID) })
}

// describe names the keys, and what each has sealed.
func describe(keys []sealing.MissingKey) string {
	all := make([]string, len(keys))
	for i, k := range keys {
		seals := make([]string, len(k.Seals))
		for j, kind := range k.Seals {
			seals[j] = string(kind)
		}
		all[i] = fmt.Sprintf("%s (%s)", k.ID, strings.Join(seals, ", "))
	}
	return strings.Join(all, " and ")
}

func ifLost(keys []sealing.MissingKey) string {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	return fmt.Sprintf("If it is lost for good, BERTH_ACCEPT_LOST_KEY=%s starts without it; the data it sealed cannot be read again", strings.Join(ids, ","))
}

// devSecrets makes the master key and the admin key at the first start.
func (n *node) devSecrets() error {
	if n.vault == nil {
		text, _, err := secret.FileOrMake(n.keySource, secret.MasterKey)
		if err != nil {
			return err
		}
		if n.vault, err = secret.NewKeyring(text); err != nil {
			return fmt.Errorf("%s: %w", n.keySource, err)
		}
	}
	if n.cfg.AdminKey != "" {
		return nil
	}
	key, _, err := secret.FileOrMake(filepath.Join(n.cfg.DataDir, adminKeyFile), secret.APIKey)
	if err != nil {
		return err
	}
	n.cfg.AdminKey = key
	return n.readAdminKey()
}

// minAdminKey is how many characters an admin key has at least.
const minAdminKey = 20

// readAdminKey reads the operator's API key that was set.
func (n *node) readAdminKey() error {
	key, err := secret.FileOrValue(n.cfg.AdminKey)
	if err != nil {
		return fmt.Errorf("BERTH_ADMIN_KEY: %w", err)
	}
	if len(key) < minAdminKey {
		return fmt.Errorf("BERTH_ADMIN_KEY: too short; use at least %d characters, for example from `openssl rand -hex 20`", minAdminKey)
	}
	n.adminKey = secret.New(key)
	return nil
}

// masterKeyFile is where dev keeps the master key, in its data folder.
const masterKeyFile = "master.key"
