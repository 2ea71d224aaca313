package provision

// KnownFor is knownFor.
const KnownFor = knownFor

// Leased gives the runtime of a job whose lease is held as long as the function says so.
func Leased(next Runtime, held func() error) Runtime { return leasedRuntime{next, held} }
