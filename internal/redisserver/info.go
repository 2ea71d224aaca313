package redisserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"
)

// Info says about the server what Redis says of itself (https://redis.io/commands/info),
// as far as the queues' pages show it: miniredis' own INFO has next to nothing of it. The
// memory is the whole process's, of which this Redis is a part.
func (s *Server) Info() string {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	peak := max(s.peak.Load(), memory.HeapAlloc)
	s.peak.Store(peak)
	up := time.Since(s.begun)
	srv := s.mini.Server()
	var out strings.Builder
	section := func(name string, pairs ...any) {
		fmt.Fprintf(&out, "# %s\r\n", name)
		for i := 0; i+1 < len(pairs); i += 2 {
			fmt.Fprintf(&out, "%s:%v\r\n", pairs[i], pairs[i+1])
		}
		out.WriteString("\r\n")
	}
	section("Server", "redis_version", "embedded in Berth", "redis_mode", "standalone", "uptime_in_seconds", int(up.Seconds()), "uptime_in_days", int(up.Hours()/24))
	section("Clients", "connected_clients", srv.ClientsLen())
	section("Memory",
		"used_memory", memory.HeapAlloc, "used_memory_human", human(memory.HeapAlloc), "used_memory_rss", memory.HeapSys,
		"used_memory_peak", peak, "used_memory_peak_human", human(peak),
		"mem_fragmentation_ratio", fmt.Sprintf("%.2f", float64(memory.HeapSys)/float64(max(memory.HeapAlloc, 1))))
	// It saves nothing. A Redis that has not saved yet says when it was started.
	section("Persistence", "loading", 0, "rdb_changes_since_last_save", 0, "rdb_last_save_time", s.begun.Unix(), "aof_enabled", 0)
	section("Stats", "total_connections_received", srv.TotalConnections(), "total_commands_processed", srv.TotalCommands())
	section("Replication", "role", "master", "connected_slaves", 0)
	section("Keyspace", "db0", fmt.Sprintf("keys=%d,expires=0,avg_ttl=0", len(s.mini.Keys())))
	return out.String()
}

// human writes a number of bytes as Redis does.
func human(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2fG", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.2fM", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.2fK", float64(n)/(1<<10))
}

// ServeHTTP answers as asynqmon does when its page asks what Redis says of itself.
func (s *Server) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	raw, fields := s.Info(), map[string]string{}
	for line := range strings.SplitSeq(raw, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = value
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{ // who is gone needs no answer
		"address": s.mini.Addr(), "info": fields, "raw_info": raw, "cluster": false, "raw_cluster_nodes": "", "queue_locations": nil,
	})
}
