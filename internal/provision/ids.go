package provision

// InstanceID names an instance ("ins_…"). Ids sort by the time of their making, which is
// what the keyset pages rely on.
type InstanceID string

// PrefixInstance is the prefix of the ids.
const PrefixInstance = "ins"
