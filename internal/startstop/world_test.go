package startstop

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

const (
	// startLimit is how long a process may take to be ready, or to refuse, on a slow machine.
	startLimit = time.Minute
	sqlite     = "sqlite"
	mysql      = "mysql"
)

var dialects = []string{sqlite, mysql}

// world is what processes of one Berth share.
type world struct {
	*testing.T
	folder      string // the data folder; not there at first
	addr        string
	adminKey    string
	masterKey   string
	databaseURL string
	redisURL    string
	settings    []string // of every process
}

// newDev is a `berth dev` with everything in its data folder, and a host that does not
// exist. Its keys are not set.
func newDev(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, folder: filepath.Join(t.TempDir(), "data"), addr: testenv.FreeAddress(t)}
	w.databaseURL = "sqlite://" + filepath.Join(w.folder, "berth.db")
	w.settings = []string{"BERTH_DATA_DIR=" + w.folder}
	w.common()
	return w
}

// newProduction has its database and Redis apart, and keys that are set.
func newProduction(t *testing.T, dialect string) *world {
	t.Helper()
	w := &world{T: t, folder: filepath.Join(t.TempDir(), "data"), addr: testenv.FreeAddress(t), masterKey: newKey(), adminKey: rand.Text() + rand.Text()}
	w.databaseURL = "sqlite://" + filepath.Join(w.folder, "berth.db")
	if dialect == mysql {
		w.databaseURL = testenv.MySQL(t)
	}
	w.redisURL = testenv.Redis(t)
	w.settings = []string{
		"BERTH_DATABASE_URL=" + w.databaseURL, "BERTH_REDIS_URL=" + w.redisURL, "BERTH_MASTER_KEY=" + w.masterKey, "BERTH_ADMIN_KEY=" + w.adminKey,
		"BERTH_DATA_DIR=" + w.folder,
	}
	w.common()
	return w
}

func (w *world) common() {
	w.settings = append(w.settings, "BERTH_HTTP_ADDR="+w.addr, "BERTH_LOG_FORMAT=json", "BERTH_SIMULATED_HOSTS=1",
		"BERTH_DOCKER_HOST=simulated://"+w.TempDir(), "BERTH_DRAIN_DELAY=100ms", "BERTH_PORT_RANGE="+testenv.PortRange(w, 50))
}

func newKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

// keyID is how Berth calls a key.
func keyID(key string) string {
	raw, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(key))
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:4])
}

// start starts a process; what is set later wins.
func (w *world) start(mode string, more ...string) *testenv.Process {
	w.Helper()
	return testenv.Start(w.T, binary, slices.Concat(w.settings, more), mode)
}

// refused starts a process that must not start, and gives what it says.
func (w *world) refused(mode string, more ...string) string {
	w.Helper()
	p := w.start(mode, more...)
	select {
	case <-p.Done():
	case <-time.After(testenv.Limit(startLimit)):
		w.Fatalf("%s goes on:\n%s", p.Name(), testenv.Tail(p.Log(), 20))
	}
	_, err := p.Ended()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		w.Errorf("%s ended with %v, want exit status 1:\n%s", p.Name(), err, testenv.Tail(p.Log(), 20))
	}
	said := testenv.Tail(p.Log(), 1)
	if !strings.HasPrefix(said, "berth: ") {
		w.Errorf("%s said last %q, want a word to people", p.Name(), said)
	}
	return said
}

// migrated brings the schema up to date.
func (w *world) migrated() {
	w.Helper()
	w.start("migrate").Finish(startLimit)
}

// ready waits until all parts of the server work.
func (w *world) ready(p *testenv.Process) {
	w.Helper()
	w.answers(p, "/readyz")
}

// answers waits until the server says of itself that it is well.
func (w *world) answers(p *testenv.Process, path string) {
	w.Helper()
	testenv.Eventually(w, p.Name()+" answers", startLimit, func(ctx context.Context) error {
		if over, err := p.Ended(); over {
			w.Fatalf("%s has ended: %v\n%s", p.Name(), err, testenv.Tail(p.Log(), 20))
		}
		if status, body, err := get(ctx, "http://"+w.addr+path); err != nil || status != http.StatusOK {
			return fmt.Errorf("%d %s %w", status, body, err)
		}
		return nil
	})
}

// logs waits until the process has said something.
func logs(t testing.TB, p *testenv.Process, message string) {
	t.Helper()
	testenv.Eventually(t, p.Name()+" says "+message, startLimit, func(context.Context) error {
		if strings.Contains(p.Log(), message) {
			return nil
		}
		if over, err := p.Ended(); over {
			t.Fatalf("%s has ended before it said %q: %v\n%s", p.Name(), message, err, testenv.Tail(p.Log(), 20))
		}
		return errors.New(testenv.Tail(p.Log(), 3))
	})
}

func (w *world) client() *client.Client {
	w.Helper()
	key := w.adminKey
	if key == "" {
		key = w.read("admin.key")
	}
	c, err := client.New(client.Config{URL: "http://" + w.addr, APIKey: key})
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// make has an instance made.
func (w *world) make() {
	w.Helper()
	c := w.client()
	a, err := c.Create(w.Context(), "redis", "", client.CreateRequest{})
	if err != nil {
		w.Fatal(err)
	}
	job, err := c.Job(w.Context(), a.Job.ID, startLimit)
	if err != nil || job.State != client.JobSucceeded {
		w.Fatalf("%+v, %v", job, err)
	}
}

// exec changes Berth's database by hand.
func (w *world) exec(query string, args ...any) {
	w.Helper()
	db := testenv.OpenDatabase(w, w.databaseURL)
	if _, err := db.ExecContext(w.Context(), query, args...); err != nil {
		w.Fatal(err)
	}
	_ = db.Close()
}

func (w *world) read(name string) string {
	w.Helper()
	content, err := os.ReadFile(filepath.Join(w.folder, name))
	if err != nil {
		w.Fatal(err)
	}
	return strings.TrimSpace(string(content))
}

func (w *world) write(path, content string) {
	w.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(w.folder, path)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.Fatal(err)
	}
}

// traces is all that a start could touch: the files below the data folder with their sums,
// and, where the database is elsewhere, its tables with how many rows each has.
func (w *world) traces() string {
	w.Helper()
	var b strings.Builder
	err := filepath.WalkDir(filepath.Dir(w.folder), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			fmt.Fprintln(&b, path)
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %x\n", path, sha256.Sum256(content))
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	if !strings.HasPrefix(w.databaseURL, "mysql://") {
		return b.String()
	}
	db := testenv.OpenDatabase(w, w.databaseURL)
	defer db.Close() //nolint:errcheck // nothing was written
	tables := column(w.T, db, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1")
	for _, table := range tables {
		fmt.Fprintln(&b, table, column(w.T, db, "SELECT COUNT(*) FROM "+table))
	}
	return b.String()
}

func column(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // Err tells
	var all []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func get(ctx context.Context, url string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	all, err := io.ReadAll(res.Body)
	return res.StatusCode, string(all), err
}
