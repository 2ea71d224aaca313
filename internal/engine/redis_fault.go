package engine

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// redisReasons are the faults that users can do something about, by how Redis's answer
// begins.
var redisReasons = []struct{ begins, why string }{
	{"WRONGPASS", "the user name or the password is refused"},
	{"NOAUTH", "it requires a password"},
	{"NOPERM", "the user lacks the permission"},
	{"ERR max number of clients reached", "all connections are taken (maxclients); close some, or take a larger maxclients"},
	{"BUSY", "a script or function has been running for too long, and nothing else is answered; " +
		"end it with SCRIPT KILL or FUNCTION KILL, which work unless it has written"},
	{"OOM", "OOM command not allowed: the data has reached maxmemory, and writes are refused; " +
		"delete something, choose another maxmemory_policy, or take a larger plan"},
	{"MISCONF", "the server cannot write to its disk, perhaps because it is full, and refuses writes; delete something"},
	{"LOADING", "it is still loading its data"},
	{"READONLY", "it is a read-only replica"},
	{"MASTERDOWN", "it is a replica without its primary"},
	{"CLUSTERDOWN", "its cluster is down"},
}

// redisReason gives the fault that the server's answer begins with.
func redisReason(err error) string {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return ""
	}
	for _, r := range redisReasons {
		if strings.HasPrefix(answer.Error(), r.begins) {
			return r.why
		}
	}
	return ""
}

// redisForbids reports whether the user lacks a permission.
func redisForbids(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) && strings.HasPrefix(answer.Error(), "NOPERM")
}

// redisRefusesLogin reports whether the server does not take the user or the password.
func redisRefusesLogin(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) && (strings.HasPrefix(answer.Error(), "WRONGPASS") || strings.HasPrefix(answer.Error(), "NOAUTH"))
}
