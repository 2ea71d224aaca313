package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/berth-project/berth/internal/provision"
)

// probeKeyLife bounds how long a key stays that a probe could not delete.
const probeKeyLife = 30 * time.Second

// Probe connects, logs in, writes, reads back and deletes a key of its own, in one
// connection. It is made here, because the client would log each refusal, and a
// server that is starting refuses many.
func (redisEngine) Probe(ctx context.Context, inst provision.Instance, cred provision.Credentials) error {
	client, hangUp, err := redisClient(ctx, inst, cred.Username, cred.Password)
	if err != nil {
		return err
	}
	defer hangUp()
	if err := client.Ping(ctx).Err(); err != nil {
		return notUsable("Redis", "logging in", err)
	}
	key, value := "_berth_probe:"+rand.Text(), rand.Text()
	if err := client.Set(ctx, key, value, probeKeyLife).Err(); err != nil {
		return notUsable("Redis", "writing", err)
	}
	got, err := client.Get(ctx, key).Result()
	if err != nil {
		return notUsable("Redis", "reading", err)
	}
	if got != value {
		return notUsable("Redis", "reading back what was written", errors.New("it is something else"))
	}
	if n, err := client.Del(ctx, key).Result(); err != nil || n != 1 {
		return notUsable("Redis", "deleting", err)
	}
	return nil
}

// redisClient gives a client of one connection, and what closes it.
func redisClient(ctx context.Context, inst provision.Instance, user string, password provision.Secret) (client *redis.Client, hangUp func(), err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", hostPort(inst))
	if err != nil {
		return nil, nil, notUsable("Redis", "connecting", err)
	}
	client = redis.NewClient(&redis.Options{
		Dialer: once(conn),
		Addr:   hostPort(inst), Username: user, Password: password.Reveal(),
		Protocol: 2, PoolSize: 1, MaxRetries: -1, DialerRetries: 1,
		ContextTimeoutEnabled: true, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return client, func() {
		_ = client.Close()
		_ = conn.Close() // where the client did not come to take it
	}, nil
}

// once gives a dialer that hands out the connection, and no other one.
func once(conn net.Conn) func(context.Context, string, string) (net.Conn, error) {
	conns := make(chan net.Conn, 1)
	conns <- conn
	return func(context.Context, string, string) (net.Conn, error) {
		select {
		case c := <-conns:
			return c, nil
		default:
			return nil, errors.New("the connection is lost")
		}
	}
}
