package engine

import (
	"fmt"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/instance"
)

// The parameters of Redis.
const (
	paramMaxMemory   = "maxmemory"
	paramPolicy      = "maxmemory_policy"
	paramMaxClients  = "maxclients"
	paramAppendFsync = "appendfsync"
)

// Bounds of maxmemory and maxclients whatever the size. An empty server takes about
// 1 MiB; Redis sets 32 file descriptors aside, of the 65536 that hosts often give.
const (
	minMaxMemory = 4 * miB
	minClients   = 10
	maxClients   = 65000
)

// Clients by memory: an idle one takes about 20 KiB with its buffers.
const (
	memoryPerClient        = 16 * kiB // most clients that are accepted: memory by this
	memoryPerDefaultClient = 32 * kiB // clients without a wish: memory by this
)

func redisParameters(largest int64) []instance.Parameter {
	return []instance.Parameter{
		{
			Name: paramMaxMemory, Type: instance.TypeBytes, Min: minMaxMemory, Max: mostData(largest),
			Description: "Memory for the data; at most nine tenths of the instance's memory, by default three quarters.",
		},
		{
			Name: paramPolicy, Type: instance.TypeString,
			Enum: []string{
				"noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random",
				"volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
			},
			Description: "Which keys are evicted when maxmemory is reached; noeviction refuses writes instead.",
		},
		{
			Name: paramMaxClients, Type: instance.TypeInteger, Min: minClients, Max: maxClients,
			Description: "Maximum number of clients; at most one per 16 KiB of the instance's memory.",
		},
		{
			Name: paramAppendFsync, Type: instance.TypeString, Enum: []string{"everysec", "always", "no"},
			Description: "When the append-only file is synced to disk: every second, at every write, or when the operating system decides.",
		},
	}
}

// mostData leaves a tenth of the memory to the server's own needs.
func mostData(mem int64) int64 { return mem / 10 * 9 }

// Complete gives every parameter a value.
func (redisEngine) Complete(given instance.Parameters, size host.Resources) instance.Parameters {
	return overlay(instance.Parameters{
		paramMaxMemory:   max(size.MemoryBytes/4*3, minMaxMemory),
		paramPolicy:      "noeviction",
		paramMaxClients:  clamp(size.MemoryBytes/memoryPerDefaultClient, minClients, 10000),
		paramAppendFsync: "everysec",
	}, given)
}

// Check finds what does not fit into the instance's memory.
func (redisEngine) Check(p instance.Parameters, size host.Resources) []fault.FieldError {
	if size.MemoryBytes <= 0 {
		return nil
	}
	var wrong []fault.FieldError
	if most := mostData(size.MemoryBytes); p.Int(paramMaxMemory) > most {
		wrong = append(wrong, fault.FieldError{
			Field: "parameters." + paramMaxMemory,
			Message: fmt.Sprintf("must be at most %d bytes (nine tenths of the memory) with %s of memory; choose less, or a bigger plan",
				most, memory(size.MemoryBytes)),
		})
	}
	if most := clamp(size.MemoryBytes/memoryPerClient, minClients, maxClients); p.Int(paramMaxClients) > most {
		wrong = append(wrong, fault.FieldError{
			Field:   "parameters." + paramMaxClients,
			Message: fmt.Sprintf("must be at most %d with %s of memory; choose fewer, or a bigger plan", most, memory(size.MemoryBytes)),
		})
	}
	return wrong
}
