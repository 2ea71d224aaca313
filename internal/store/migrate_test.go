package store

import (
	"log/slog"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/rooms"
)

// TestMigrateAtOnce starts four processes on an empty database.
func TestMigrateAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		var all errgroup.Group
		for range 4 {
			s := openStore(t, databaseURL)
			all.Go(func() error { return s.Migrate(t.Context(), slog.New(slog.DiscardHandler)) })
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
		mustBeCurrent(t, databaseURL, true)
	})
}

func TestMigrateDownAndUp(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		s := openStore(t, databaseURL)
		mustBeCurrent(t, databaseURL, false)
		for range 2 {
			if err := s.Migrate(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			mustBeCurrent(t, databaseURL, true)
			insertHost(t, s, "local")
			p, err := s.provider(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.DownTo(t.Context(), 0); err != nil {
				t.Fatalf("down: %v", err)
			}
			mustBeCurrent(t, databaseURL, false)
			if _, err := s.Hosts(t.Context()); err == nil {
				t.Fatal("after the way down there are hosts still")
			}
		}
	})
}

func mustBeCurrent(t *testing.T, databaseURL string, want bool) {
	t.Helper()
	if schema, err := LookAtSchema(t.Context(), databaseURL); err != nil || schema.Current() != want {
		t.Fatalf("%+v, %v: is it current? want %v", schema, err, want)
	}
}

func insertHost(t *testing.T, s *Store, name string) {
	t.Helper()
	if err := s.Tx(t.Context(), func(tx rooms.Tx) error {
		_, err := tx.PutHost(host.Host{ID: host.ID("hst_" + name), Name: name})
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestDeploymentAtOnce has several processes make up the deployment's id.
func TestDeploymentAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, databaseURL string) {
		openMigrated(t, databaseURL)
		ids := make([]string, 6)
		var all errgroup.Group
		for i := range ids {
			s := openStore(t, databaseURL)
			all.Go(func() (err error) {
				ids[i], err = s.Deployment(t.Context(), "dep_"+string(rune('a'+i)))
				return err
			})
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if id != ids[0] || id == "" {
				t.Fatalf("one deployment has the ids %q", ids)
			}
		}
	})
}
