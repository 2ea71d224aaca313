package queue

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/fault"
)

// refusals are the codes that Redis begins its refusals with, and what to do about them.
var refusals = map[string]string{
	"MISCONF":   "it cannot write to its disk, which may be full; free space, and check its log",
	"OOM":       "its memory is full; increase maxmemory, or remove other data",
	"LOADING":   "it is still loading its data; wait a moment",
	"READONLY":  "it is a replica; set BERTH_REDIS_URL to the primary",
	"NOAUTH":    "it wants a password; set one in BERTH_REDIS_URL",
	"WRONGPASS": "user or password is wrong; see BERTH_REDIS_URL",
	"NOPERM":    "its user lacks permissions; see BERTH_REDIS_URL",
}

// Explain gives an error of Redis in words that anybody may read: what the client says may
// hold addresses and more.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	message := "Redis does not answer; check that it is running and reachable"
	var refused redis.Error
	if errors.As(err, &refused) {
		code, _, _ := strings.Cut(refused.Error(), " ")
		message = "Redis refuses to work"
		if hint, ok := refusals[code]; ok {
			message = fmt.Sprintf("Redis refuses to work (%s): %s", code, hint)
		}
	}
	return &fault.Error{Code: fault.CodeUnavailable, Message: message, Err: err, RetryAfter: 2 * time.Second}
}
