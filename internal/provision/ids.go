package provision

// Ids are a prefix and a ULID, for example "ins_01J9Z…". They sort by creation
// time, which is what the keyset pages rely on.
type (
	// InstanceID names an instance ("ins_…").
	InstanceID string
	// HostID names a host ("hst_…").
	HostID string
)

// Prefixes of the ids, without the underscore.
const (
	PrefixInstance = "ins"
	PrefixHost     = "hst"
)
