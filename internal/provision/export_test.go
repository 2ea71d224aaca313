package provision

// KnownFor is knownFor.
const KnownFor = knownFor
