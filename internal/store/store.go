// Package store keeps the domain's entities in MySQL or SQLite, through GORM. It
// owns the rows and the migrations, and is the only importer of gorm. It knows no
// rules: what may follow on what is decided in the rooms, and arrives here as
// conditions of a write.
package store

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/libtnb/sqlite"
	"gorm.io/driver/mysql"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/berth-project/berth/internal/backoff"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/rooms"
)

// Store implements rooms.Store.
type Store struct {
	reader
	dialect string
	// writer holds SQLite's while no transaction has it: waiting in line here is fair and
	// quick, SQLite's busy handler sleeps. Nil on MySQL.
	writer chan *writer
	// migrating is the file that an SQLite store's migration locks.
	migrating string
	disk      disk
}

const (
	dialectSQLite = "sqlite"
	dialectMySQL  = "mysql"
)

// Open opens the database at a URL: "sqlite:///path/to/file" (or
// "sqlite://relative/path"), or "mysql://user:password@host:port/database". It does
// not wait for the database to answer; Ping does that.
func Open(databaseURL string) (*Store, error) {
	dialect, path, err := splitURL(databaseURL)
	switch {
	case err != nil:
		return nil, err
	case dialect == dialectSQLite:
		return openSQLite(path)
	default:
		return openMySQL(databaseURL)
	}
}

// splitURL gives the dialect, and what is behind it: for SQLite the path of the file.
func splitURL(databaseURL string) (dialect, rest string, err error) {
	dialect, rest, ok := strings.Cut(databaseURL, "://")
	if ok && (dialect == dialectMySQL || dialect == dialectSQLite && rest != "") {
		return dialect, rest, nil
	}
	const want = "want sqlite://FILE or mysql://USER:PASSWORD@HOST:PORT/DATABASE"
	if !ok {
		return "", "", errors.New("database URL without a scheme: " + want) // it may hold a password
	}
	return "", "", fmt.Errorf("database URL with scheme %q: %s", dialect, want)
}

// CheckURL says what is wrong with a database URL, and repeats no password.
func CheckURL(databaseURL string) error {
	dialect, _, err := splitURL(databaseURL)
	if err == nil && dialect == dialectMySQL {
		_, err = mysqlConnector(databaseURL)
	}
	return err
}

func openSQLite(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create the folder of the database: %w", err)
	}
	options := "?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(ON)"
	pools := [2]*sql.DB{}
	for i := range pools {
		var err error
		if pools[i], err = sql.Open(sqlite.DriverName, sqliteFile(path)+options); err != nil {
			return nil, fmt.Errorf("open SQLite database %s: %w", path, err)
		}
	}
	db, err := gorm.Open(sqlite.New(sqlite.Config{Conn: pools[0]}), gormConfig(true))
	if err != nil {
		return nil, fmt.Errorf("open SQLite database %s: %w", path, err)
	}
	// The file holds credentials, even if sealed ones.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("restrict access to the database file: %w", err)
	}
	s, err := newStore(db, dialectSQLite, 8)
	if err != nil {
		return nil, err
	}
	s.migrating = sqliteFile(path + "-migrating")
	pools[1].SetMaxOpenConns(1)
	s.writer = make(chan *writer, 1)
	s.writer <- &writer{pool: pools[1]}
	return s, nil
}

// sqliteFile gives the URL of a file (https://sqlite.org/uri.html).
func sqliteFile(path string) string {
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

const (
	// mysqlIdle is after how many seconds without a word the server ends a connection and
	// takes back its transaction: less than a lease lasts. A worker that was frozen in the
	// middle of one would hold its rows for as long as it is.
	mysqlIdle = "8"
	// idleFor is how long connections are kept for later: the server must not be first.
	idleFor = 4 * time.Second
)

func openMySQL(databaseURL string) (*Store, error) {
	connector, err := mysqlConnector(databaseURL)
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(connector)
	db, err := gorm.Open(mysql.New(mysql.Config{Conn: pool, SkipInitializeWithVersion: true}), gormConfig(false))
	if err != nil {
		return nil, fmt.Errorf("open MySQL database: %w", err)
	}
	return newStore(db, dialectMySQL, 32)
}

func mysqlConnector(databaseURL string) (sqldriver.Connector, error) {
	cfg, err := mysqlSettings(databaseURL)
	if err != nil {
		return nil, err
	}
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	return connector, nil
}

func mysqlSettings(databaseURL string) (*driver.Config, error) {
	u, err := url.Parse(databaseURL)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return nil, fmt.Errorf("database URL: want mysql://USER:PASSWORD@HOST:PORT/DATABASE")
	}
	cfg := driver.NewConfig()
	cfg.Net, cfg.Addr, cfg.DBName = "tcp", u.Host, strings.Trim(u.Path, "/")
	if u.Port() == "" {
		cfg.Addr = net.JoinHostPort(u.Hostname(), "3306")
	}
	cfg.User = u.User.Username()
	cfg.Passwd, _ = u.User.Password()
	cfg.Collation = "utf8mb4_0900_bin"
	cfg.InterpolateParams = true // one round trip a statement,
	cfg.MultiStatements = true   // or for several (see batch)
	cfg.ParseTime = true         // goose's table locker reads times; without it, it waits for ever
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = 3*time.Second, 10*time.Second, 10*time.Second
	// No gap locks, so fewer deadlocks. Said once for each connection, it costs no
	// transaction a round trip.
	cfg.Params = map[string]string{"transaction_isolation": "'READ-COMMITTED'", "wait_timeout": mysqlIdle}
	cfg.Logger = &driver.NopLogger{}
	return cfg, nil
}

// maxPrepared bounds the statements that stay compiled on each connection for reading.
const maxPrepared = 128

func gormConfig(prepare bool) *gorm.Config {
	return &gorm.Config{
		Logger: logger.Discard, TranslateError: true, SkipDefaultTransaction: true, PrepareStmt: prepare, PrepareStmtMaxSize: maxPrepared,
		DisableAutomaticPing: true, NowFunc: clock.System,
	}
}

func newStore(db *gorm.DB, dialect string, connections int) (*Store, error) {
	pool, err := db.DB()
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := fence(db); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	pool.SetConnMaxLifetime(5 * time.Minute)
	if dialect == dialectMySQL {
		pool.SetConnMaxIdleTime(idleFor)
	}
	return &Store{reader: reader{db}, dialect: dialect}, nil
}

// Close closes every connection. It waits for the transactions that are under way on SQLite.
func (s *Store) Close() error {
	pool, err := s.db.DB()
	if err != nil {
		return err
	}
	if s.writer == nil {
		return pool.Close()
	}
	w := <-s.writer
	w.close()
	err = w.pool.Close()
	s.writer <- w
	return errors.Join(err, pool.Close())
}

// Ping reports whether the database answers, and, once its disk would take nothing, whether
// it can be written to again.
func (s *Store) Ping(ctx context.Context) error {
	pool, err := s.db.DB()
	if err != nil {
		return err
	}
	if err := pool.PingContext(ctx); err != nil {
		return translate(err)
	}
	return s.disk.check(ctx, s.tryWrite)
}

// maxTxTries is how often a transaction that lost to another one is tried.
const maxTxTries = 10

// txRetries are the pauses before it is tried again. They grow and are drawn from all of
// their length, so that those who met do not meet again, and a slow database has time to get
// out of the knot.
var txRetries = backoff.Exponential{First: 8 * time.Millisecond, Most: 200 * time.Millisecond, Jitter: 1}

// afterCommit limits how long the functions that follow a commit may take together.
const afterCommit = 500 * time.Millisecond

// Tx implements job.Store.
func (s *Store) Tx(ctx context.Context, fn func(rooms.Tx) error) error {
	after, err := s.commit(ctx, fn)
	if len(after) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterCommit)
	defer cancel()
	for _, do := range after {
		do(ctx)
	}
	return err
}

// commit gives what is to follow: nothing where the transaction was rolled back.
func (s *Store) commit(ctx context.Context, fn func(rooms.Tx) error) ([]func(context.Context), error) {
	var writer *writer
	if s.writer != nil {
		select {
		case writer = <-s.writer:
			defer func() { s.writer <- writer }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	together := s.dialect == dialectMySQL
	for try := 1; ; try++ {
		after, err := s.once(ctx, fn, writer, together)
		if errors.Is(err, errRefused) {
			together = false // whose fault was it?
			continue
		}
		if err == nil || !lostToAnother(err) || try == maxTxTries {
			err = translate(err)
			s.disk.note(err)
			// An answer that was lost on the way may be that of a commit.
			if err != nil && fault.CodeOf(err) != fault.CodeUnavailable && ctx.Err() == nil {
				after = nil
			}
			return after, err
		}
		if err := txRetries.Wait(ctx, try); err != nil {
			return nil, err
		}
	}
}

// once runs a transaction once. On MySQL it is a batch; together, new rows are sent with what
// follows on them.
func (s *Store) once(ctx context.Context, fn func(rooms.Tx) error, w *writer, together bool) ([]func(context.Context), error) {
	ctx = remembering(ctx)
	if w == nil {
		return s.inBatch(ctx, fn, together)
	}
	if err := w.begin(ctx); err != nil {
		return nil, err
	}
	defer w.end(ctx)
	t := s.txOn(ctx, w)
	if err := fn(t); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil { // it is rolled back for certain
		return nil, err
	}
	return t.after, w.commit(ctx)
}

// txOn returns a transaction whose statements go to what has begun it.
func (s *Store) txOn(ctx context.Context, begun gorm.ConnPool) *tx {
	db := s.db.Session(&gorm.Session{NewDB: true, Context: ctx})
	db.Statement.ConnPool = begun
	return &tx{reader: reader{db}, ctx: ctx}
}

func (s *Store) inBatch(ctx context.Context, fn func(rooms.Tx) error, together bool) ([]func(context.Context), error) {
	pool, err := s.db.DB()
	if err != nil {
		return nil, err
	}
	b, err := newBatch(ctx, pool, !together)
	if err != nil {
		return nil, err
	}
	defer b.end(ctx)
	t := s.txOn(ctx, b)
	err = fn(t)
	switch {
	case b.refused != nil: // whatever was made of it
		return nil, b.refused
	case err != nil:
		return nil, err
	}
	return t.after, b.commit(ctx)
}
