package engine

import (
	"reflect"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
)

func TestComplete(t *testing.T) {
	for _, c := range []struct {
		name, engine, plan string
		given              instance.Parameters
		want               instance.Parameters // of these
	}{
		{"mysql small", "mysql", "small", nil, instance.Parameters{
			"charset": "utf8mb4", "collation": "utf8mb4_0900_ai_ci", "binlog_format": "ROW", "max_connections": int64(102),
			"innodb_lock_wait_timeout": int64(50), "wait_timeout": int64(28800),
		}},
		{"mysql large", "mysql", "large", nil, instance.Parameters{"max_connections": int64(819)}},
		{"collation follows charset", "mysql", "", instance.Parameters{"charset": "latin1"},
			instance.Parameters{"charset": "latin1", "collation": "latin1_swedish_ci"}},
		{"charset follows collation", "mysql", "", instance.Parameters{"collation": "latin1_bin"},
			instance.Parameters{"charset": "latin1", "collation": "latin1_bin"}},
		{"both given", "mysql", "", instance.Parameters{"charset": "utf8mb4", "collation": "utf8mb4_bin"},
			instance.Parameters{"charset": "utf8mb4", "collation": "utf8mb4_bin"}},
		{"redis small", "redis", "small", nil, instance.Parameters{
			"maxmemory": 96 * miB, "maxmemory_policy": "noeviction", "maxclients": int64(4096), "appendfsync": "everysec",
		}},
		{"redis large", "redis", "large", nil, instance.Parameters{"maxmemory": 1536 * miB, "maxclients": int64(10000)}},
		{"redis given", "redis", "", instance.Parameters{"maxmemory": 64 * miB}, instance.Parameters{"maxmemory": 64 * miB}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := find(t, c.engine)
			plan, _ := e.Describe().Plan(c.plan)
			before := c.given.Clone()
			got := e.Complete(c.given, plan.Resources)
			for name, want := range c.want {
				if got[name] != want {
					t.Errorf("%s is %v, want %v", name, got[name], want)
				}
			}
			for _, p := range e.Describe().Parameters {
				if _, ok := got[p.Name]; !ok {
					t.Errorf("%s has no value", p.Name)
				}
			}
			if !reflect.DeepEqual(before, c.given) {
				t.Error("what was given was changed")
			}
			if wrong := e.Check(got, plan.Resources); wrong != nil {
				t.Errorf("its own values are wrong: %v", wrong)
			}
		})
	}
}

// Values that an engine makes up must be ones that it accepts, at every size.
func TestCompleteIsValidAtEverySize(t *testing.T) {
	for _, e := range Catalog(Config{}) {
		info := e.Describe()
		for mem := info.Limits.Min.MemoryBytes; mem <= info.Limits.Max.MemoryBytes; mem = mem*3/2 + 1 {
			size := host.Resources{CPUMillis: 1000, MemoryBytes: mem, DiskBytes: giB}
			values := e.Complete(nil, size)
			if wrong := e.Check(values, size); wrong != nil {
				t.Errorf("%s with %d: %v", info.Name, mem, wrong)
			}
			parsed, wrong := info.ParseParameters(values)
			if wrong != nil || !reflect.DeepEqual(parsed, values) {
				t.Errorf("%s with %d: %v are not within the schema: %v", info.Name, mem, values, wrong)
			}
		}
	}
}

func TestRefusedParameters(t *testing.T) {
	for _, c := range []struct {
		name, engine, plan string
		given              map[string]any
		field, says        string
	}{
		{"unknown", "mysql", "", map[string]any{"sql_mode": "x"}, "parameters.sql_mode", "max_connections"},
		{"unknown charset", "mysql", "", map[string]any{"charset": "utf8"}, "parameters.charset", "utf8mb4, latin1"},
		{"unknown collation", "mysql", "", map[string]any{"collation": "utf8mb4_nope"}, "parameters.collation", "utf8mb4_0900_ai_ci"},
		{"collation of another charset", "mysql", "", map[string]any{"charset": "latin1", "collation": "utf8mb4_bin"}, "parameters.collation", "latin1_"},
		{"binlog_format", "mysql", "", map[string]any{"binlog_format": "NONE"}, "parameters.binlog_format", "ROW, STATEMENT, MIXED"},
		{"no connections", "mysql", "", map[string]any{"max_connections": 1}, "parameters.max_connections", "from 5 to 10000"},
		{"not a number", "mysql", "", map[string]any{"max_connections": "100"}, "parameters.max_connections", "integer"},
		{"connections for the memory", "mysql", "small", map[string]any{"max_connections": 513}, "parameters.max_connections", "at most 512 with 512 MiB"},
		{"wait_timeout", "mysql", "", map[string]any{"wait_timeout": 1}, "parameters.wait_timeout", "30"},
		{"lock wait", "mysql", "", map[string]any{"innodb_lock_wait_timeout": 0}, "parameters.innodb_lock_wait_timeout", "1 to 3600"},
		{"maxmemory too small", "redis", "", map[string]any{"maxmemory": "1mb"}, "parameters.maxmemory", "4194304"},
		{"maxmemory for the plan", "redis", "small", map[string]any{"maxmemory": "128mb"}, "parameters.maxmemory", "with 128 MiB"},
		{"maxmemory unreadable", "redis", "", map[string]any{"maxmemory": "lots"}, "parameters.maxmemory", "64mb"},
		{"policy", "redis", "", map[string]any{"maxmemory_policy": "lru"}, "parameters.maxmemory_policy", "allkeys-lru"},
		{"maxclients", "redis", "small", map[string]any{"maxclients": 9000}, "parameters.maxclients", "at most 8192"},
		{"appendfsync", "redis", "", map[string]any{"appendfsync": "never"}, "parameters.appendfsync", "everysec, always, no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := find(t, c.engine)
			plan, _ := e.Describe().Plan(c.plan)
			params, wrong := e.Describe().ParseParameters(c.given)
			if len(wrong) == 0 {
				wrong = e.Check(e.Complete(params, plan.Resources), plan.Resources)
			}
			if len(wrong) != 1 || wrong[0].Field != c.field || !strings.Contains(wrong[0].Message, c.says) {
				t.Errorf("got %v, want %s: …%s…", wrong, c.field, c.says)
			}
		})
	}
}

// The domain checks parameters even where the size was refused.
func TestCheckWithoutSize(t *testing.T) {
	for _, e := range Catalog(Config{}) {
		if wrong := e.Check(e.Complete(nil, host.Resources{}), host.Resources{}); wrong != nil {
			t.Errorf("%s: %v", e.Describe().Name, wrong)
		}
	}
}

func TestParsedWords(t *testing.T) {
	got, wrong := find(t, "mysql").Describe().ParseParameters(map[string]any{"binlog_format": "mixed", "max_connections": 20.0})
	if wrong != nil || got["binlog_format"] != "MIXED" || got["max_connections"] != int64(20) {
		t.Errorf("got %v, %v", got, wrong)
	}
	got, wrong = find(t, "redis").Describe().ParseParameters(map[string]any{"maxmemory": "64MB", "appendfsync": "Always"})
	if wrong != nil || got["maxmemory"] != 64*miB || got["appendfsync"] != "always" {
		t.Errorf("got %v, %v", got, wrong)
	}
}

func TestCharsets(t *testing.T) {
	if len(charsets) != 2 {
		t.Fatalf("charsets: %v", charsets)
	}
	for _, c := range charsets {
		for _, collation := range c.Collations {
			if charsetOf(collation) != c.Name {
				t.Errorf("%s does not begin with %s", collation, c.Name)
			}
		}
	}
}

func TestIdentifier(t *testing.T) {
	for name, want := range map[string]string{
		"shop-a": "shop_a", "a": "a", "7up": "db_7up", "mysql": "db_mysql", "root": "db_root", "": "db", "---": "db",
		"performance-schema": "db_performance_schema", "Größe": "gr__e",
		"abcdefghijklmnopqrstuvwxyz-01234567": "abcdefghijklmnopqrstuvwxyz_01234",
		"abcdefghijklmnopqrstuvwxyz01234-67":  "abcdefghijklmnopqrstuvwxyz01234",
		"mysql---------------------------x":   "db_mysql", "root----------------------------x": "db_root",
	} {
		if got := identifier(name); got != want || !plain.MatchString(got) || len(got) > maxIdentifier {
			t.Errorf("identifier(%q) is %q, want %q", name, got, want)
		}
	}
	if got := grantPattern("a_b%c"); got != `a\_b\%c` {
		t.Errorf("grantPattern gives %s", got)
	}
}
