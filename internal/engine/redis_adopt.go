package engine

import (
	"context"
	"strings"

	"github.com/berth-project/berth/internal/instance"
)

// Adopt says to the running server what its files will say to it at the next start.
func (redisEngine) Adopt(ctx context.Context, inst instance.Instance, cred instance.Credentials) error {
	users, err := renderRedisUsers(inst, cred)
	if err != nil {
		return err
	}
	client, hangUp, err := redisClient(ctx, inst, account{redisUser, cred.WarmPassword, nil}) // which a warm server takes
	if err != nil {
		return err
	}
	defer hangUp()
	p := inst.Spec.Parameters
	commands := setUsers(users)
	known, err := redisKnows(ctx, client, redisListIndexes)
	if err != nil {
		return notUsable("Redis", "adopting the warm server", err)
	}
	if known {
		tenant := len(commands) - 1
		commands[tenant] = append(commands[tenant], "+"+redisListIndexes)
	}
	pipe := client.TxPipeline()
	pipe.Do(ctx, "CONFIG", "SET", "maxmemory", p.Int(paramMaxMemory), "maxmemory-policy", p.String(paramPolicy),
		"maxclients", p.Int(paramMaxClients), "appendfsync", p.String(paramAppendFsync))
	if redisHasTLS(inst) {
		pipe.Do(ctx, append([]any{"CONFIG", "SET"}, certificateSettings()...)...)
	}
	pipe.Do(ctx, "FLUSHALL", "SYNC")
	pipe.Do(ctx, "CONFIG", "RESETSTAT")
	pipe.Do(ctx, "SLOWLOG", "RESET")
	pipe.Do(ctx, "ACL", "LOG", "RESET")
	for _, acl := range commands {
		pipe.Do(ctx, acl...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return notUsable("Redis", "adopting the warm server", err)
	}
	return nil
}

// setUsers gives the commands that do what the access list says ("user NAME RULE…"). The
// tenant's, which is the first in the list, comes last: it takes its rights from whoever adopts.
func setUsers(list string) [][]any {
	var commands [][]any
	for line := range strings.Lines(list) {
		words := strings.Fields(line)
		command := []any{"ACL", "SETUSER", words[1], "reset"}
		for _, rule := range words[2:] {
			command = append(command, rule)
		}
		commands = append([][]any{command}, commands...)
	}
	return commands
}
