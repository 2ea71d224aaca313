package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/testenv"
)

// ofMemory gives an instance of explicit resources, as the domain would have it.
func ofMemory(t *testing.T, memory int64, given map[string]any) instance.Instance {
	t.Helper()
	inst := newInstance(t, find(t, "mysql"), "9.7", "small", given)
	inst.Spec.Plan, inst.Spec.Resources.MemoryBytes = instance.PlanCustom, memory
	inst.Spec.Parameters = find(t, "mysql").Complete(inst.Spec.Parameters, inst.Spec.Resources)
	delete(inst.Spec.Parameters, paramMaxConnections)
	inst.Spec.Parameters = find(t, "mysql").Complete(inst.Spec.Parameters, inst.Spec.Resources)
	return inst
}

// One row of the largest size that the server takes does not end it, however it comes and
// goes, whatever the plan.
func TestMySQLLargestRowOnDocker(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		memory int64
		format string
	}{{384 * miB, "ROW"}, {512 * miB, "ROW"}, {512 * miB, "STATEMENT"}, {giB, "ROW"}, {4 * giB, "ROW"}} {
		t.Run(fmt.Sprintf("%d MiB %s", c.memory/miB, c.format), func(t *testing.T) {
			t.Parallel()
			u := createFor(t, ofMemory(t, c.memory, map[string]any{"binlog_format": c.format}), "")
			u.start()
			u.ready()
			largestRow(t, u)
		})
	}
}

func largestRow(t *testing.T, u *unit) {
	t.Helper()
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, cfg.DBName = "tcp", hostPort(u.inst), u.cred.Username, u.cred.Password.Reveal(), u.cred.Database
	cfg.MaxAllowedPacket, cfg.Logger = 0, &mysql.NopLogger{}
	cfg.TLSConfig = "preferred"
	cfg.InterpolateParams = false
	open := func() *sql.DB {
		connector, err := mysql.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(connector)
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	db := open()
	// The server is full of what it does every day.
	must(t, db, "CREATE TABLE small (id INT PRIMARY KEY AUTO_INCREMENT, s VARCHAR(200), INDEX (s))", "INSERT INTO small (s) VALUES (REPEAT('x', 200))")
	for range 15 {
		must(t, db, "INSERT INTO small (s) SELECT CONCAT(LEFT(UUID(), 20), RIGHT(s, 180)) FROM small")
	}
	must(t, db, "CREATE TABLE b (id INT PRIMARY KEY, b LONGBLOB)", "CREATE TABLE c (id INT PRIMARY KEY, c LONGTEXT, FULLTEXT (c))", "CREATE TABLE j (id INT PRIMARY KEY, j JSON)")
	var most int
	if err := db.QueryRowContext(t.Context(), "SELECT @@max_allowed_packet").Scan(&most); err != nil {
		t.Fatal(err)
	}
	// Its buffer pool is full, if it is not too big to be filled here.
	fill := bufferPool(u.inst.Spec.Resources.MemoryBytes)
	if fill > giB {
		fill = 128 * miB
	}
	for i := range fill / (8 * miB) {
		must(t, db, fmt.Sprintf("INSERT INTO b VALUES (%d, REPEAT('f', 8*1024*1024 - 1000))", 100+i))
	}
	row := make([]byte, most-64*1024)
	_, _ = rand.Read(row)
	var words []byte // as many different ones as a person uses
	for i := 0; len(words) < len(row)-10; i++ {
		words = fmt.Appendf(words, "word%x ", row[i]&15)
		words = fmt.Appendf(words, "other%02x ", row[i])
	}
	document := fmt.Sprintf(`[%s{"name": "last"}]`, strings.Repeat(`{"name": "somebody", "age": 17}, `, len(row)/3/33))
	put := func(what, statement string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatalf("%s of %d MiB: %v", what, most/int(miB), err)
		}
	}
	check := func(what, query string, want []byte) {
		t.Helper()
		var got []byte
		if err := db.QueryRowContext(t.Context(), query).Scan(&got); err != nil || sha256.Sum256(got) != sha256.Sum256(want) {
			t.Fatalf("%s: %v, %d bytes of %d", what, err, len(got), len(want))
		}
	}
	put("a prepared insert", "INSERT INTO b VALUES (1, ?)", row)
	check("reading", "SELECT b FROM b WHERE id = 1", row)
	put("an update", "UPDATE b SET b = ? WHERE id = 1", bytes.Repeat([]byte{7}, len(row)))
	put("an update by the server", "UPDATE b SET b = REPEAT('z', @@max_allowed_packet - 100) WHERE id = 1")
	put("a copy", "INSERT INTO b SELECT 2, b FROM b WHERE id = 1")
	check("sorting", "SELECT b FROM b WHERE id < 100 ORDER BY LEFT(b, 9), id LIMIT 1", bytes.Repeat([]byte("z"), most-100))
	put("words", "INSERT INTO c VALUES (1, ?)", words)
	// On a busy machine the index of words may be behind for a moment.
	testenv.Eventually(t, "the words are found", 30*time.Second, func(ctx context.Context) error {
		var id int
		return db.QueryRowContext(ctx, "SELECT id FROM c WHERE MATCH (c) AGAINST ('other17')").Scan(&id)
	})
	check("reading words", "SELECT c FROM c WHERE MATCH (c) AGAINST ('other17')", words)
	put("a document", "INSERT INTO j VALUES (1, ?)", document)
	put("a change in a document", "UPDATE j SET j = JSON_SET(j, '$[0].name', 'nobody')")
	db = open()
	text := []byte("INSERT INTO b VALUES (3, 0x")
	text = append(text, hex.EncodeToString(row[:(most-4096-len(text))/2])...)
	put("an insert as text", string(append(text, ')')))
	check("reading it", "SELECT b FROM b WHERE id = 3", row[:(most-4096-len("INSERT INTO b VALUES (3, 0x"))/2])
	put("a deletion", "DELETE FROM b")
	if state := docker(t, "inspect", "--format", "{{.State.OOMKilled}} {{.State.Running}}", u.container); state != "false true" {
		t.Errorf("out of memory, running: %s", state)
	}
	t.Logf("rows of %d MiB; at most %s bytes in use", most/int(miB), u.peak())
}

// peak gives the most memory that the container has used, by what its cgroup says.
func (u *unit) peak() string {
	for _, file := range []string{"memory/memory.max_usage_in_bytes", "memory.peak"} {
		if out, err := u.exec("cat", "/sys/fs/cgroup/"+file); err == nil {
			return out
		}
	}
	return "unknown"
}
