package provision

// Ids are a prefix and a ULID, for example "ins_01J9Z…". They sort by creation
// time, which is what the keyset pages rely on.
type (
	// TenantID names whose things they are.
	TenantID string
	// InstanceID names an instance ("ins_…").
	InstanceID string
	// JobID names a job ("job_…").
	JobID string
	// EventID names an event ("evt_…").
	EventID string
	// DeliveryID names a webhook delivery ("dlv_…").
	DeliveryID string
	// HostID names a host ("hst_…").
	HostID string
)

// DefaultTenant owns everything until there are more tenants.
const DefaultTenant TenantID = "default"

// Prefixes of the ids, without the underscore.
const (
	PrefixInstance = "ins"
	PrefixJob      = "job"
	PrefixEvent    = "evt"
	PrefixDelivery = "dlv"
	PrefixHost     = "hst"
)

// NewID makes a fresh id with the given prefix; ids made later sort later.
type NewID func(prefix string) string
