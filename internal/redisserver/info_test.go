package redisserver

import (
	"encoding/json"
	"net/http/httptest"
	"strconv"
	"testing"
)

// Whatever the queues' pages show of Redis is there, and is a number where they count.
func TestInfo(t *testing.T) {
	s, err := Start("secret")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.mini.Close)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, nil)
	var answer struct {
		Address string
		Info    map[string]string
		Raw     string `json:"raw_info"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Address != s.mini.Addr() || answer.Raw == "" {
		t.Fatalf("%v %s", err, w.Body)
	}
	for _, name := range []string{"redis_version", "used_memory_human", "used_memory_peak_human"} {
		if answer.Info[name] == "" {
			t.Errorf("no %s in %v", name, answer.Info)
		}
	}
	for _, name := range []string{
		"uptime_in_days", "connected_clients", "connected_slaves", "mem_fragmentation_ratio", "rdb_last_save_time", "rdb_changes_since_last_save", "used_memory",
	} {
		if _, err := strconv.ParseFloat(answer.Info[name], 64); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n, want := range map[uint64]string{512: "0.50K", 1 << 20: "1.00M", 3 << 29: "1.50G"} {
		if got := human(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
