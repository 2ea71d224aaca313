package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/contexts"
)

// target is the server of one call, and what opens it. Flags and the environment go before
// the context.
type target struct {
	url, key, tenant string
	caFile           string // of authorities that the server is trusted by; empty: the system's
	// context is the name of the context that the key is from; empty: it is from elsewhere.
	context string
}

// target finds the server, and the key where only this user can read it. It is not a flag:
// command lines are open to everybody on the machine.
func (c *cli) target(cmd *cobra.Command) (target, error) {
	file, err := contexts.Load(contexts.Path(c.getenv))
	if err != nil {
		return target{}, err
	}
	name := cmp.Or(c.context, file.Current)
	kept, known := file.Contexts[name]
	if c.context != "" && !known {
		return target{}, usagef(cmd, "there is no context %q; `berth context ls` lists them, `berth login --context %s` makes it", c.context, c.context)
	}
	t := target{url: c.url, key: strings.TrimSpace(c.getenv("BERTH_API_KEY")), tenant: c.tenant, caFile: c.caFile}
	if known && !cmd.Flags().Changed("url") && c.getenv("BERTH_URL") == "" {
		t.url = kept.URL
	}
	if known && sameServer(t.url, kept.URL) {
		t.caFile = cmp.Or(t.caFile, kept.CAFile)
	}
	if t.key != "" {
		return t, nil
	}
	if known && kept.Token != "" && sameServer(t.url, kept.URL) { // a token goes to no other server
		t.key, t.context, t.tenant = kept.Token, name, cmp.Or(t.tenant, kept.Tenant)
		return t, nil
	}
	t.key, err = c.adminKey()
	return t, err
}

// loginTarget returns where to log in: where the context says that is logged in to anew, unless
// a flag or the environment says otherwise.
func (c *cli) loginTarget(cmd *cobra.Command) target {
	t := target{url: c.url, caFile: c.caFile}
	file, err := contexts.Load(contexts.Path(c.getenv))
	kept, known := file.Contexts[cmp.Or(c.context, file.Current)]
	if err != nil || !known {
		return t
	}
	if !cmd.Flags().Changed("url") && c.getenv("BERTH_URL") == "" {
		t.url = kept.URL
	}
	if sameServer(t.url, kept.URL) {
		t.caFile = cmp.Or(t.caFile, kept.CAFile)
	}
	return t
}

func sameServer(a, b string) bool {
	return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/")
}

// adminKey reads the key of `berth dev`.
func (c *cli) adminKey() (string, error) {
	dir := cmp.Or(c.getenv("BERTH_DATA_DIR"), defaultDataDir)
	key, err := os.ReadFile(filepath.Join(dir, adminKeyFile)) //nolint:gosec // the user names the folder
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil // the server says whether it wants one
	}
	if err != nil {
		return "", fmt.Errorf("read the API key: %w", err)
	}
	return strings.TrimSpace(string(key)), nil
}

// changeContexts changes the file of contexts.
func (c *cli) changeContexts(change func(*contexts.File) error) error {
	path := contexts.Path(c.getenv)
	file, err := contexts.Load(path)
	if err != nil {
		return err
	}
	if err := change(&file); err != nil {
		return err
	}
	return file.Save(path)
}
