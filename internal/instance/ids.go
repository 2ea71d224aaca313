package instance

// ID names an instance ("ins_…"). Ids sort by the time of their making, which is
// what the keyset pages rely on.
type ID string

// Prefix is the prefix of the ids.
const Prefix = "ins"
