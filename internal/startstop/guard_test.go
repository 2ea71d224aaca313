package startstop

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// usedDev is a dev that has made an instance and was stopped. It gives its master key.
func usedDev(t *testing.T) (w *world, key string) {
	t.Helper()
	w = newDev(t)
	p := w.start("dev")
	w.ready(p)
	w.make()
	p.Stop()
	return w, w.read("master.key")
}

// mustRefuse starts a process that must refuse and touch nothing.
func (w *world) mustRefuse(what, mode string, words []string, more ...string) {
	w.Helper()
	before := w.traces()
	said := w.refused(mode, more...)
	for _, word := range words {
		if !strings.Contains(said, word) {
			w.Errorf("%s: %s said %q, want %q in it", what, mode, said, word)
		}
	}
	if after := w.traces(); after != before {
		w.Errorf("%s: %s was refused and has left\n%s\nof\n%s", what, mode, after, before)
	}
}

// mustStart starts a server, and ends it again.
func (w *world) mustStart(what, mode string, more ...string) {
	w.Helper()
	p := w.start(mode, more...)
	if mode == "worker" {
		logs(w, p, "worker ready")
	} else {
		w.ready(p)
	}
	p.Stop()
	if w.Failed() {
		w.Fatalf("%s: it should have started", what)
	}
}

// TestDevWithoutItsKey restores a data folder without the key that opens what is in it.
func TestDevWithoutItsKey(t *testing.T) {
	t.Parallel()
	for name, age := range map[string]func(w *world){
		"this release": func(*world) {},
		// An earlier release has left no check value: what it sealed must do.
		"an earlier release": func(w *world) { w.exec("DELETE FROM settings WHERE name = 'key_check'") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, key := usedDev(t)
			age(w)
			devRefuses(w, key)
			devStarts(w, key)
		})
	}
}

func devRefuses(w *world, key string) {
	w.Helper()
	file, elsewhere := filepath.Join(w.folder, "master.key"), filepath.Join(w.TempDir(), "key")
	wanted := keyID(key)
	for what, content := range map[string]string{
		"an empty file": "", "a file with a blank line": "\n", "another key": newKey(), "two others": newKey() + "\n" + newKey() + "\n",
		"only the new one after a rotation": newKey() + "\n# " + key + "\n",
	} {
		w.write(file, content)
		w.mustRefuse(what, "dev", []string{file, wanted})
	}
	for what, content := range map[string]string{"not base64": "?", "a short key": "c2hvcnQ=", "a long key": key + key} {
		w.write(file, content)
		w.mustRefuse(what, "dev", []string{file, "32 bytes"})
	}
	_ = os.Remove(file)
	w.mustRefuse("no file", "dev", []string{file, "is missing", wanted})
	w.mustRefuse("another lost key", "dev", []string{file, wanted}, "BERTH_ACCEPT_LOST_KEY=00000000")
	w.mustRefuse("another key in the environment", "dev", []string{"BERTH_MASTER_KEY", wanted}, "BERTH_MASTER_KEY="+newKey())
	w.write(elsewhere, newKey())
	w.mustRefuse("another key in a file", "dev", []string{"BERTH_MASTER_KEY", elsewhere, wanted}, "BERTH_MASTER_KEY="+elsewhere)
	w.write(elsewhere, "")
	w.mustRefuse("an empty key file", "dev", []string{"BERTH_MASTER_KEY", elsewhere}, "BERTH_MASTER_KEY="+elsewhere)
	w.mustRefuse("a key file that is not there", "dev", []string{"BERTH_MASTER_KEY", "/not/there"}, "BERTH_MASTER_KEY=/not/there")
	w.mustRefuse("a folder for a key file", "dev", []string{"BERTH_MASTER_KEY", w.folder}, "BERTH_MASTER_KEY="+w.folder)
	if err := os.Mkdir(file, 0o700); err != nil {
		w.Fatal(err)
	}
	w.mustRefuse("a folder in its place", "dev", []string{file})
	_ = os.Remove(file)
}

func devStarts(w *world, key string) {
	w.Helper()
	file := filepath.Join(w.folder, "master.key")
	w.mustStart("the key in the environment", "dev", "BERTH_MASTER_KEY="+key)
	w.write(file, key+"\n")
	w.mustStart("the key put back", "dev")
	_ = os.Remove(filepath.Join(w.folder, "admin.key"))
	w.mustStart("no admin key", "dev")
	if w.read("admin.key") == "" {
		w.Error("no admin key was made")
	}
	rotated := newKey()
	w.write(file, rotated+"\n"+key+"\n")
	w.mustStart("a new key before the old one", "dev")
	w.write(file, key+"\n")
	w.mustStart("the new key taken back: nothing uses it", "dev")
	w.write(file, rotated+"\n"+key+"\n")
	w.rotated()
	w.write(file, key+"\n")
	w.mustRefuse("rotated back by a restore", "dev", []string{file, keyID(rotated), keyID(key)})
	_ = os.Remove(file)
	w.mustStart("keys that are lost", "dev", "BERTH_ACCEPT_LOST_KEY="+keyID(rotated))
	w.mustRefuse("the new key does not open the old rows", "dev", []string{file, keyID(rotated)})
}

// TestDevWithNothingSealed has a database that was used, and holds nothing that a key seals.
func TestDevWithNothingSealed(t *testing.T) {
	t.Parallel()
	w := newDev(t)
	w.mustStart("a fresh folder", "dev")
	key := w.read("master.key")
	w.exec("DELETE FROM settings WHERE name = 'key_check'")
	w.exec("DELETE FROM authorities")
	_ = os.Remove(filepath.Join(w.folder, "master.key"))
	w.mustRefuse("used, nothing sealed", "dev", []string{"master.key", "openssl rand -base64 32"})
	w.write("master.key", key)
	w.mustStart("put back", "dev")
}

// TestDevOnMigratedDatabase has a schema, and no deployment yet: that is a new database.
func TestDevOnMigratedDatabase(t *testing.T) {
	t.Parallel()
	w := newDev(t)
	w.start("migrate", "BERTH_DATABASE_URL="+w.databaseURL).Finish(startLimit)
	w.mustStart("a migrated database", "dev")
}

// TestWrongKeyInProduction starts each process with a key that is not the deployment's.
func TestWrongKeyInProduction(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			w := newProduction(t, dialect)
			w.migrated()
			api, worker := w.start("api"), w.start("worker")
			w.ready(api)
			w.make()
			worker.Stop()
			api.Stop()
			for _, check := range []bool{true, false} { // an earlier release has left none
				for _, mode := range []string{"api", "worker", "migrate", "dev"} {
					w.mustRefuse(fmt.Sprint("with a check value: ", check), mode, []string{"BERTH_MASTER_KEY", keyID(w.masterKey)}, "BERTH_MASTER_KEY="+newKey())
				}
				w.exec("DELETE FROM settings WHERE name = 'key_check'")
			}
			w.mustStart("its own key", "worker")
			w.start("migrate", "BERTH_MASTER_KEY=").Finish(startLimit) // which needs none
			w.mustRefuse("no key", "dev", []string{"master.key", keyID(w.masterKey)}, "BERTH_MASTER_KEY=")
			w.mustStart("a lost key", "worker", "BERTH_MASTER_KEY="+newKey(), "BERTH_ACCEPT_LOST_KEY="+keyID(w.masterKey))
		})
	}
}

// TestNewerDatabase starts each process on a database that a newer release has migrated,
// while a worker that began before goes on.
func TestNewerDatabase(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			w := newProduction(t, dialect)
			w.migrated()
			running := w.start("worker")
			logs(t, running, "worker ready")
			w.exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (4711, ?)", true)
			newer := []string{"schema version 4711", "up to", "Berth "}
			for _, mode := range []string{"api", "worker", "migrate", "dev"} {
				if said := w.refused(mode); !containsAll(said, newer) {
					t.Errorf("%s said %q, want %q in it", mode, said, newer)
				}
			}
			if over, err := running.Ended(); over {
				t.Errorf("the worker that ran before has ended: %v", err)
			}
			running.Stop()
			w.exec("UPDATE settings SET value = 'v9.8.7' WHERE name = 'release'")
			for _, mode := range []string{"api", "worker", "migrate", "dev"} {
				w.mustRefuse("newer", mode, append(newer, "v9.8.7"))
			}
			w.mustRefuse("newer, without a key", "dev", newer, "BERTH_MASTER_KEY=", "BERTH_ADMIN_KEY=")
			w.exec("DELETE FROM goose_db_version WHERE version_id = 4711")
			w.mustStart("the old schema", "worker")
		})
	}
}

func containsAll(text string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// TestPortTaken starts servers whose address somebody else has.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	hold := func(w *world) {
		var config net.ListenConfig
		l, err := config.Listen(w.Context(), "tcp", w.addr)
		if err != nil {
			w.Fatal(err)
		}
		w.Cleanup(func() { _ = l.Close() })
	}
	words := []string{"address already in use", "BERTH_HTTP_ADDR"}
	t.Run("dev", func(t *testing.T) {
		t.Parallel()
		w := newDev(t)
		hold(w)
		w.mustRefuse("a fresh folder", "dev", words)
	})
	t.Run("a second dev on one folder", func(t *testing.T) {
		t.Parallel()
		w := newDev(t)
		p := w.start("dev")
		w.ready(p)
		files := folderOf(w)
		if said := w.refused("dev"); !containsAll(said, words) {
			t.Errorf("it said %q, want %q in it", said, words)
		}
		if again := folderOf(w); again != files {
			t.Errorf("the folder had %s, and has %s", files, again)
		}
		w.make() // the first one goes on
	})
	for _, dialect := range dialects {
		t.Run("api on "+dialect, func(t *testing.T) {
			t.Parallel()
			w := newProduction(t, dialect)
			hold(w)
			w.mustRefuse("no schema", "api", words)
			w.migrated()
			w.mustRefuse("nothing used", "api", words)
			w.mustRefuse("nothing used", "dev", words)
		})
	}
}

func folderOf(w *world) string {
	w.Helper()
	files, err := os.ReadDir(w.folder)
	if err != nil {
		w.Fatal(err)
	}
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = file.Name()
	}
	return strings.Join(names, " ")
}

// TestSettingsBeforeAnythingIsMade has settings that are found wrong late.
func TestSettingsBeforeAnythingIsMade(t *testing.T) {
	t.Parallel()
	w := newDev(t)
	w.mustRefuse("a short admin key", "dev", []string{"BERTH_ADMIN_KEY"}, "BERTH_ADMIN_KEY=short")
	w.mustRefuse("a master key that is none", "dev", []string{"BERTH_MASTER_KEY"}, "BERTH_MASTER_KEY=short")
	w.mustRefuse("a folder that cannot be made", "dev", []string{"/dev/null"}, "BERTH_DATA_DIR=/dev/null/data", "BERTH_ADMIN_KEY="+newKey())
	p := newProduction(t, sqlite)
	p.mustRefuse("a short admin key", "api", []string{"BERTH_ADMIN_KEY"}, "BERTH_ADMIN_KEY=short")
	p.mustRefuse("a master key that is none", "worker", []string{"BERTH_MASTER_KEY"}, "BERTH_MASTER_KEY=short")
}

// TestNoDatabaseURL starts each process on what is no URL of a database: waiting would not
// help, and its password is nobody's to read.
func TestNoDatabaseURL(t *testing.T) {
	t.Parallel()
	w := newProduction(t, sqlite)
	for _, bad := range []string{"mysql:berth:S3cret@127.0.0.1:3306/berth", "root:S3cret@tcp(127.0.0.1:3306)/berth", "mysql://root:S3cret@tcp(127.0.0.1:3306)/berth", "postgres://u:S3cret@h/d"} {
		for _, mode := range []string{"api", "worker", "migrate", "dev"} {
			said := w.refused(mode, "BERTH_DATABASE_URL="+bad)
			if !strings.Contains(said, "BERTH_DATABASE_URL") || !strings.Contains(said, "mysql://USER:PASSWORD@HOST") || strings.Contains(said, "S3cret") {
				t.Errorf("%s on %s said %q", mode, bad, said)
			}
		}
	}
}
