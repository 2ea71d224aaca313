package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/instance"
)

// redisFullRules come after redisRules while the disk is full: nothing is written but what
// frees space.
var redisFullRules = []string{
	"-@write",
	"+del", "+unlink", "+flushdb", "+flushall", "+getdel", "+expire", "+pexpire", "+expireat", "+pexpireat",
	"+hdel", "+srem", "+spop", "+zrem", "+zpopmin", "+zpopmax", "+zmpop", "+bzpopmin", "+bzpopmax", "+bzmpop",
	"+zremrangebyrank", "+zremrangebyscore", "+zremrangebylex",
	"+lpop", "+rpop", "+lmpop", "+blpop", "+brpop", "+blmpop", "+lrem", "+ltrim", "+xdel", "+xtrim", "+xack",
}

// rulesOf gives what narrows the tenant of a server.
func rulesOf(inst instance.Instance, full bool) []string {
	switch {
	case warm(inst):
		return nil
	case full:
		return slices.Concat(redisRules, redisFullRules)
	default:
		return redisRules
	}
}

// KeepDisk measures the append-only file, which is all that the server keeps. The file is
// written anew, without what was deleted since, where that may help: the server does that by
// itself only when the file has doubled. While that goes on, its new file is not counted.
func (redisEngine) KeepDisk(ctx context.Context, inst instance.Instance, cred instance.Credentials, refuse func(int64) bool) (used int64, err error) {
	own, err := berthPassword(inst, cred)
	if err != nil {
		return 0, err
	}
	err = withRedis(ctx, inst, account{redisBerth, own, plainRedis(inst, cred)}, func(ctx context.Context, client *redis.Client) error {
		file, err := redisFileOf(ctx, client)
		if err != nil {
			return err
		}
		used = file.size
		full := refuse(used)
		if err := redisRefuseWrites(ctx, client, inst, full); err != nil {
			return err
		}
		if file.worthRewriting(inst.Spec.Resources.DiskBytes, full) {
			return client.BgRewriteAOF(ctx).Err()
		}
		return nil
	})
	if redisRefusesLogin(err) || redisForbids(err) {
		return 0, startedEarlier(err)
	}
	return used, err
}

// redisFile is the append-only file, in bytes.
type redisFile struct {
	size      int64
	base      int64 // of it: what was there when it was written anew, or read
	data      int64 // in memory
	rewriting bool
}

func redisFileOf(ctx context.Context, client *redis.Client) (f redisFile, err error) {
	said, err := client.Info(ctx, "persistence", "memory").Result()
	if err != nil {
		return f, fmt.Errorf("measure the disk: %w", err)
	}
	return readRedisFile(said)
}

// readRedisFile reads what INFO says (https://redis.io/docs/latest/commands/info/).
func readRedisFile(said string) (f redisFile, err error) {
	for line := range strings.Lines(said) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		n, _ := strconv.ParseInt(value, 10, 64) // others are texts
		switch name {
		case "loading":
			if n == 1 { // it says that its file is empty
				return f, notUsable("Redis", "measuring the disk", errors.New("it is reading its data"))
			}
		case "aof_current_size":
			f.size = n
		case "aof_base_size":
			f.base = n
		case "used_memory_dataset":
			f.data = n
		case "aof_rewrite_in_progress", "aof_rewrite_scheduled":
			f.rewriting = f.rewriting || n == 1
		}
	}
	return f, nil
}

// worthRewriting reports whether the file may get smaller: near the limit if it has grown by an
// eighth, and at the limit if anything has happened since it was written anew, or less data is
// in memory.
func (f redisFile) worthRewriting(limit int64, full bool) bool {
	switch {
	case f.rewriting:
		return false
	case full:
		return f.size > f.base || f.data < f.size
	default:
		return instance.DiskOK.Next(f.size, limit) != instance.DiskOK && f.size > f.base+f.base/8
	}
}

// redisRefuseWrites brings the running server's access list to what its file says, or would
// say, of the tenant's writes. It asks first, so that it changes nothing that is right.
func redisRefuseWrites(ctx context.Context, client *redis.Client, inst instance.Instance, refuse bool) error {
	said, err := client.Do(ctx, "ACL", "DRYRUN", redisUser, "SET", probeKey, "").Text()
	if err != nil {
		return fmt.Errorf("ask what the tenant may do: %w", err)
	}
	if refused := said != "OK"; refused == refuse {
		return nil
	}
	command := []any{"ACL", "SETUSER", redisUser, "+@all"}
	for _, rule := range rulesOf(inst, refuse) {
		command = append(command, rule)
	}
	known, err := redisKnows(ctx, client, redisListIndexes)
	if err != nil {
		return err
	}
	if known {
		command = append(command, "+"+redisListIndexes)
	}
	if err := client.Do(ctx, command...).Err(); err != nil {
		return fmt.Errorf("refuse writes (%t): %w", refuse, err)
	}
	return nil
}

// redisKnows reports whether the server has the command. start.sh looks for it in the module's
// file.
func redisKnows(ctx context.Context, client *redis.Client, name string) (bool, error) {
	known, err := client.Do(ctx, "COMMAND", "INFO", name).Slice()
	return len(known) == 1 && known[0] != nil, err
}
