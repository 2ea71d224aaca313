package chaos

import (
	"context"
	"database/sql"
	"errors"
	"strconv"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/client"
)

// works does real work on an instance with its own credentials.
func (w *world) works(ctx context.Context, inst client.Instance) error {
	conn, err := w.client.Connection(ctx, inst)
	if err != nil {
		return err
	}
	return works(ctx, conn, inst)
}

func works(ctx context.Context, conn client.Connection, inst client.Instance) error {
	if inst.Engine == "mysql" {
		return worksMySQL(ctx, conn, inst.ID)
	}
	return worksRedis(ctx, conn, inst.ID)
}

func worksRedis(ctx context.Context, conn client.Connection, id string) error {
	options, err := redis.ParseURL(conn.URI)
	if err != nil {
		return err
	}
	r := redis.NewClient(options)
	defer r.Close() //nolint:errcheck // nothing depends on it
	if err := r.SetNX(ctx, "chaos", id, 0).Err(); err != nil {
		return err
	}
	got, err := r.Get(ctx, "chaos").Result()
	return mine(id, got, err)
}

func worksMySQL(ctx context.Context, conn client.Connection, id string) error {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "tcp", conn.Host+":"+strconv.Itoa(conn.Port)
	cfg.User, cfg.Passwd, cfg.DBName = conn.Username, conn.Password, conn.Database
	cfg.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close() //nolint:errcheck // nothing depends on it
	for _, s := range []string{"CREATE TABLE IF NOT EXISTS chaos (k INT PRIMARY KEY, v VARCHAR(80))", "INSERT IGNORE INTO chaos VALUES (1, '" + id + "')"} {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	var got string
	err = db.QueryRowContext(ctx, "SELECT v FROM chaos").Scan(&got)
	return mine(id, got, err)
}

// mine says whether what an instance holds was written to it.
func mine(id, got string, err error) error {
	if err == nil && got != id {
		err = errors.New("it is somebody else's: " + got)
	}
	return err
}
