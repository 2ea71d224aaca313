package testenv

import (
	"context"
	"crypto/tls"
	"errors"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"
)

// ConnectMySQL connects once, as the DSN says; a setting of TLS that it names "berth" is cfg.
func ConnectMySQL(ctx context.Context, dsn string, cfg *tls.Config) error {
	if cfg != nil {
		if err := mysql.RegisterTLSConfig("berth", cfg); err != nil {
			return err
		}
	}
	parsed, err := mysql.ParseDSN(dsn)
	if err != nil {
		return err
	}
	parsed.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(parsed)
	if err != nil {
		return err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		return err
	}
	return conn.Close()
}

// ConnectRedis says PING once, as the URI says; cfg is that of TLS, where the URI has it.
func ConnectRedis(ctx context.Context, uri string, cfg *tls.Config) error {
	options, err := redis.ParseURL(uri)
	if err != nil {
		return err
	}
	if cfg != nil {
		options.TLSConfig = cfg
	}
	options.MaxRetries, options.DialerRetries = -1, 1
	r := redis.NewClient(options)
	return errors.Join(r.Ping(ctx).Err(), r.Close())
}
