package host

import "time"

// EngineFacts is what an engine says of itself and of the machine that it runs on. The zero value
// means that there is none, or that it does not answer.
type EngineFacts struct {
	ID            string // as Identity gives it
	Version       string // "28.5.2"
	StorageDriver string // "overlay2"
	CgroupVersion string // "1" or "2"; empty: an engine that does not say
	RootDir       string // where it keeps its data
	OS            string
	Kernel        string
	Arch          string // "amd64", "arm64"
	CPUs          int
	MemoryBytes   int64
	MemoryLimit   bool      // it can limit the memory of a container
	Clock         time.Time // of the machine; zero: not known
	Swarm         SwarmMember
}

// found returns what is written of a host.
func (f EngineFacts) found(now time.Time) Found {
	return Found{
		CPUMillis: int64(f.CPUs) * 1000, MemoryBytes: f.MemoryBytes, OS: f.OS, Kernel: f.Kernel, EngineVersion: f.Version,
		StorageDriver: f.StorageDriver, At: now,
	}
}
