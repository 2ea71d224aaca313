package engine

import (
	"context"
	"crypto/tls"
	"net/url"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/secret"
)

// redisTLS writes the connection as clients take it that verify the server.
func redisTLS(inst instance.Instance, cred instance.Credentials, uri url.URL) *instance.TLSConnection {
	if !redisHasTLS(inst) {
		return nil
	}
	c := tlsConnection(inst, cred, redisSecurePort(inst))
	if c == nil {
		return nil
	}
	uri.Scheme, uri.Host = "rediss", address(inst, c.Port)
	c.URI, c.CLI = secret.New(uri.String()), secret.New("redis-cli --cacert "+caFile+" -u "+shellWord(uri.String()))
	return c
}

// redisSecurePort is where the server takes connections with TLS.
func redisSecurePort(inst instance.Instance) int {
	if inst.Spec.RequireTLS {
		return inst.Status.Port
	}
	return inst.Status.TLSPort
}

// plainRedis gives the settings of connections to the instance's port; nil: they are without
// TLS.
func plainRedis(inst instance.Instance, cred instance.Credentials) *tls.Config {
	if !inst.Spec.RequireTLS {
		return nil
	}
	return clientTLS(inst, cred)
}

// secureRedis proves that the tenant gets in with TLS, where the server has that beside
// connections without.
func secureRedis(ctx context.Context, inst instance.Instance, cred instance.Credentials) error {
	if inst.Spec.RequireTLS || !redisHasTLS(inst) || cred.Identity.CA == "" {
		return nil
	}
	inst.Status.Port = inst.Status.TLSPort
	return withRedis(ctx, inst, account{cred.Username, cred.Password, clientTLS(inst, cred)}, func(ctx context.Context, client *redis.Client) error {
		if err := client.Ping(ctx).Err(); err != nil {
			return notUsable("Redis", "logging in with TLS", err)
		}
		return nil
	})
}

// certificateSettings are the words of CONFIG SET that have the server read its certificate
// anew, whether or not the names of the files change.
func certificateSettings() []any {
	return []any{"tls-cert-file", redisHome + "/conf/server-cert.pem", "tls-key-file", redisHome + "/conf/server-key.pem"}
}

// Recertify has the server read its certificate anew; connections that are open go on.
func (e redisEngine) Recertify(ctx context.Context, inst instance.Instance, cred instance.Credentials) error {
	own, err := berthPassword(inst, cred)
	if err != nil {
		return err
	}
	secure := plainRedis(inst, cred)
	if secure != nil {
		secure.InsecureSkipVerify = true // the old one may have ended
	}
	err = withRedis(ctx, inst, account{redisBerth, own, secure}, func(ctx context.Context, client *redis.Client) error {
		if err := client.Do(ctx, append([]any{"CONFIG", "SET"}, certificateSettings()...)...).Err(); err != nil {
			return notUsable("Redis", "taking a new certificate", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	cfg := clientTLS(inst, cred)
	cfg.VerifyConnection = newCertificate(e.info.Title, cred.Identity.Certificate)
	return greet(ctx, address(inst, redisSecurePort(inst)), cfg)
}
