package engine

import (
	"context"
	"strings"

	"github.com/berth-project/berth/internal/provision"
)

// Adopt says to the running server what its files will say to it at the next start.
func (redisEngine) Adopt(ctx context.Context, inst provision.Instance, cred provision.Credentials) error {
	users, err := renderRedisUsers(inst, cred)
	if err != nil {
		return err
	}
	client, hangUp, err := redisClient(ctx, inst, redisUser, cred.WarmPassword)
	if err != nil {
		return err
	}
	defer hangUp()
	p := inst.Parameters
	acl := []any{"ACL", "SETUSER", redisUser, "reset"}
	for _, rule := range strings.Fields(users)[2:] { // "user default …"
		acl = append(acl, rule)
	}
	// start.sh looks for the command in the module's file.
	known, err := client.Do(ctx, "COMMAND", "INFO", redisListIndexes).Slice()
	if err != nil {
		return notUsable("Redis", "adopting the warm server", err)
	}
	if len(known) == 1 && known[0] != nil {
		acl = append(acl, "+"+redisListIndexes)
	}
	pipe := client.TxPipeline()
	pipe.Do(ctx, "CONFIG", "SET", "maxmemory", p.Int(paramMaxMemory), "maxmemory-policy", p.String(paramPolicy),
		"maxclients", p.Int(paramMaxClients), "appendfsync", p.String(paramAppendFsync))
	pipe.Do(ctx, "FLUSHALL", "SYNC")
	pipe.Do(ctx, "CONFIG", "RESETSTAT")
	pipe.Do(ctx, "SLOWLOG", "RESET")
	pipe.Do(ctx, "ACL", "LOG", "RESET")
	pipe.Do(ctx, acl...)
	if _, err := pipe.Exec(ctx); err != nil {
		return notUsable("Redis", "adopting the warm server", err)
	}
	return nil
}
