package smoke

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// secrets are what nobody may see, by what they are.
type secrets map[string]string

// absentFrom looks for each secret in a text. What is found is named, not shown.
func (s secrets) absentFrom(t *testing.T, where, text string) {
	t.Helper()
	for what, value := range s {
		if len(value) < 8 {
			t.Fatalf("the %s has %d characters: too short to look for", what, len(value))
		}
		if strings.Contains(text, value) {
			t.Errorf("%s holds the %s in the clear", where, what)
		}
	}
}

// expectIn gives the text, which must hold what is surely in it: where nothing was
// gathered, nothing can be found.
func expectIn(t *testing.T, where, text, sure string) string {
	t.Helper()
	if !strings.Contains(text, sure) {
		t.Errorf("%s was not looked through: it does not hold %q", where, sure)
	}
	return text
}

// absentFromAnswers looks through every page that shows what there is.
func (s secrets) absentFromAnswers(t *testing.T, srv *server, instances, jobs []string) {
	t.Helper()
	pages := []string{
		"/api/v1/engines", "/api/v1/storage/instances?deleted=true", "/api/v1/storage/mysql/instances", "/api/v1/storage/redis/instances",
		"/api/v1/jobs", "/api/v1/events", "/api/v1/webhooks", "/api/v1/deliveries", "/healthz", "/readyz", "/openapi.json", "/docs/",
		"/queues/", "/queues/api/queues", "/queues/api/redis_info", "/queues/api/servers",
	}
	for _, id := range instances {
		pages = append(pages, "/api/v1/storage/instances/"+id)
	}
	for _, id := range jobs {
		pages = append(pages, "/api/v1/jobs/"+id)
	}
	for _, queue := range []string{"creates", "upkeep", "webhooks"} {
		for _, state := range []string{"active", "pending", "scheduled", "retry", "archived", "completed"} {
			pages = append(pages, "/queues/api/queues/"+queue+"/"+state+"_tasks")
		}
	}
	for _, page := range pages {
		status, body, err := srv.get(t.Context(), page)
		for tries := 0; page == "/readyz" && err == nil && status != http.StatusOK && tries < 10; tries++ { // a busy machine may not be
			s.absentFrom(t, "GET "+page, body)
			status, body, err = srv.get(t.Context(), page)
		}
		if err != nil || status != http.StatusOK && !strings.HasPrefix(page, "/queues/api/queues/") { // a queue that was never used is 404
			t.Errorf("GET %s: %d %v", page, status, err)
		}
		s.absentFrom(t, "GET "+page, body)
	}
}

// absentFromFiles looks through files as they are on the disk.
func (s secrets) absentFromFiles(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file is called %s (%v)", pattern, err)
	}
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s.absentFrom(t, filepath.Base(name), string(content))
	}
}

// watched is text that is gathered beside a test, from what would be gone at its end.
type watched struct {
	stop func() string
}

// watch runs collect until text is asked for, at the end of the test at the latest.
func watch(t *testing.T, collect func(ctx context.Context, add func(string))) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	seen, done := map[string]bool{}, make(chan struct{})
	go func() {
		defer close(done)
		collect(ctx, func(line string) { seen[line] = true })
	}()
	w := &watched{stop: sync.OnceValue(func() string {
		cancel()
		<-done
		var all strings.Builder
		for line := range seen {
			all.WriteString(line + "\n")
		}
		return all.String()
	})}
	t.Cleanup(func() { w.stop() })
	return w
}

// text stops watching and gives each different line once.
func (w *watched) text() string { return w.stop() }

// watchCommandLines collects the command lines of all processes of this machine, those
// in containers included, for as long as the test runs.
func watchCommandLines(t *testing.T) *watched {
	t.Helper()
	return watch(t, func(ctx context.Context, add func(string)) {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, name := range names {
				if line, err := os.ReadFile(name); err == nil { // else it has ended
					add(string(line))
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	})
}

// watchRedis collects every command that anybody sends to the server, by MONITOR.
func watchRedis(t *testing.T, redisURL string) *watched {
	t.Helper()
	u, err := url.Parse(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	if _, err := fmt.Fprintf(conn, "AUTH %s\r\nMONITOR\r\n", password); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(conn)
	for range 2 {
		if line, err := lines.ReadString('\n'); err != nil || line != "+OK\r\n" {
			t.Fatalf("Redis does not let us watch: %q, %v", line, err)
		}
	}
	return watch(t, func(ctx context.Context, add func(string)) {
		defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			add(line)
		}
	})
}

// dumpRedis gives every key of the database, and its value.
func dumpRedis(t *testing.T, redisURL string) string {
	t.Helper()
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(options)
	defer rdb.Close() //nolint:errcheck // it was only read
	var all strings.Builder
	keys := rdb.Scan(t.Context(), 0, "*", 1000).Iterator()
	for keys.Next(t.Context()) {
		key := keys.Val()
		kind := rdb.Type(t.Context(), key).Val()
		read := map[string][]any{
			"string": {"GET", key}, "list": {"LRANGE", key, 0, -1}, "hash": {"HGETALL", key}, "set": {"SMEMBERS", key},
			"zset": {"ZRANGE", key, 0, -1, "WITHSCORES"}, "stream": {"XRANGE", key, "-", "+"}, "none": {"EXISTS", key},
		}[kind]
		value, err := rdb.Do(t.Context(), read...).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			t.Fatalf("read %s %s: %v", kind, key, err)
		}
		all.WriteString(key + " = " + fmt.Sprint(value) + "\n")
	}
	if err := keys.Err(); err != nil {
		t.Fatal(err)
	}
	return all.String()
}
