package engine

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// probeKey begins the keys that belong to Berth; what is in them is of no value.
const probeKey = "_berth_probe:"

// probeKeyLife bounds how long a key stays that a probe could not delete.
const probeKeyLife = 30 * time.Second

// Probe connects, logs in, writes, reads back and deletes a key of its own, in one
// connection. It is made here, because the client would log each refusal, and a
// server that is starting refuses many.
func (redisEngine) Probe(ctx context.Context, inst instance.Instance, cred instance.Credentials) error {
	if err := withRedis(ctx, inst, account{cred.Username, cred.Password, plainRedis(inst, cred)}, useKey); err != nil {
		return err
	}
	return secureRedis(ctx, inst, cred)
}

// ping logs in and gets an answer.
func ping(ctx context.Context, client *redis.Client) error {
	if err := client.Ping(ctx).Err(); err != nil {
		return notUsable("Redis", "logging in", err)
	}
	return nil
}

// useKey writes a key of its own, reads it back and deletes it.
func useKey(ctx context.Context, client *redis.Client) error {
	if err := ping(ctx, client); err != nil {
		return err
	}
	key, value := probeKey+rand.Text(), rand.Text()
	if err := client.Set(ctx, key, value, probeKeyLife).Err(); err != nil {
		return notUsable("Redis", "writing", err)
	}
	got, err := client.Get(ctx, key).Result()
	if err != nil {
		return notUsable("Redis", "reading", err)
	}
	if got != value {
		return notUsable("Redis", "reading back what was written", errors.New("the value read differs from the value written"))
	}
	if n, err := client.Del(ctx, key).Result(); err != nil || n != 1 {
		return notUsable("Redis", "deleting", err)
	}
	return nil
}

// Look proves by Berth's own user that the server takes and gives back what is written, and
// then whether the tenant gets in. A server without that user, as earlier versions have
// made it, is proven by the tenant's.
func (e redisEngine) Look(ctx context.Context, inst instance.Instance, cred instance.Credentials) (instance.Finding, error) {
	own, err := berthPassword(inst, cred)
	if err != nil {
		return instance.Finding{}, err
	}
	if own.Empty() {
		return instance.Finding{}, e.Probe(ctx, inst, cred)
	}
	use := useKey
	if inst.Status.Disk.State == instance.DiskFull {
		use = ping // what is written would be in the file that is to get smaller
	}
	err = withRedis(ctx, inst, account{redisBerth, own, plainRedis(inst, cred)}, use)
	if redisRefusesLogin(err) {
		return instance.Finding{}, e.Probe(ctx, inst, cred)
	}
	if err != nil {
		return instance.Finding{}, err
	}
	err = withRedis(ctx, inst, account{cred.Username, cred.Password, plainRedis(inst, cred)}, ping)
	if redisRefusesLogin(err) {
		return instance.Finding{Notice: instance.NoticePassword}, nil
	}
	if err == nil && secureRedis(ctx, inst, cred) != nil && ctx.Err() == nil {
		return instance.Finding{Notice: noticeTLS}, nil
	}
	return instance.Finding{}, err
}

// account is who connects, and how.
type account struct {
	user     string
	password secret.Secret
	secure   *tls.Config // nil: without TLS
}

// withRedis does something in one connection.
func withRedis(ctx context.Context, inst instance.Instance, as account, do func(context.Context, *redis.Client) error) error {
	client, hangUp, err := redisClient(ctx, inst, as)
	if err != nil {
		return err
	}
	defer hangUp()
	err = do(ctx, client)
	if err != nil && reason(err) == "" && as.secure == nil {
		if said := redisGreeting(ctx, inst); said != nil {
			return notUsable("Redis", "connecting", said)
		}
	}
	return err
}

// greetingWithin is how long Redis has to refuse a connection before anything is asked.
const greetingWithin = 300 * time.Millisecond

// redisGreeting gives what the server says to a connection by itself: that it takes no
// more of them. It closes one at once then, and who asks something may never read why.
func redisGreeting(ctx context.Context, inst instance.Instance) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", hostPort(inst))
	if err != nil {
		return nil
	}
	defer conn.Close() //nolint:errcheck // only read
	_ = conn.SetReadDeadline(time.Now().Add(greetingWithin))
	line, _ := bufio.NewReader(io.LimitReader(conn, 512)).ReadString('\n')
	if said, refused := strings.CutPrefix(strings.TrimSpace(line), "-"); refused {
		return redisAnswer(said)
	}
	return nil
}

// redisAnswer is an answer of the server's that was read without its client.
type redisAnswer string

func (a redisAnswer) Error() string { return string(a) }

// RedisError makes it a redis.Error.
func (redisAnswer) RedisError() {}

// redisClient gives a client of one connection, and what closes it.
func redisClient(ctx context.Context, inst instance.Instance, as account) (client *redis.Client, hangUp func(), err error) {
	var dialer interface {
		DialContext(context.Context, string, string) (net.Conn, error)
	} = &net.Dialer{}
	if as.secure != nil {
		dialer = &tls.Dialer{Config: as.secure}
	}
	conn, err := dialer.DialContext(ctx, "tcp", hostPort(inst))
	if err != nil {
		return nil, nil, notUsable("Redis", "connecting", err)
	}
	client = redis.NewClient(&redis.Options{
		Dialer: once(conn),
		Addr:   hostPort(inst), Username: as.user, Password: as.password.Reveal(),
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
