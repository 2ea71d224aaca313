package queue

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/testenv"
)

// TestExplain has a Redis refuse, and one that is away.
func TestExplain(t *testing.T) {
	options, err := redis.ParseURL(testenv.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*redis.Options){
		"":                 func(*redis.Options) {},
		"(NOAUTH)":         func(o *redis.Options) { o.Password = "" },
		"(WRONGPASS)":      func(o *redis.Options) { o.Password = "topsecret" },
		"does not answer;": func(o *redis.Options) { o.Addr = testenv.FreeAddress(t) },
	} {
		changed := *options
		change(&changed)
		changed.MaxRetries = -1
		client := redis.NewClient(&changed)
		mustSay(t, Explain(client.Ping(t.Context()).Err()), want)
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	mustSay(t, Explain(fmt.Errorf("ping: %w", refusal("MISCONF Errors writing to the AOF file: No space left on device"))), "disk")
}

type refusal string

func (r refusal) Error() string { return string(r) }

// RedisError implements redis.Error.
func (refusal) RedisError() {}

func mustSay(t *testing.T, err error, want string) {
	t.Helper()
	var e *fault.Error
	switch {
	case want == "":
		if err != nil {
			t.Error(err)
		}
	case !errors.As(err, &e) || !strings.Contains(e.Message, want) || strings.Contains(e.Message, "topsecret"):
		t.Errorf("got %v, want %q in its message", err, want)
	}
}
