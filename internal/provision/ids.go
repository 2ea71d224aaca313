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
	// WebhookID names a webhook ("whk_…").
	WebhookID string
	// HostID names a host ("hst_…").
	HostID string
)

// DefaultTenant owns everything until there are more tenants.
const DefaultTenant TenantID = "default"

// TenantNobody has the warm instances: those that were started before somebody asked.
// No client can be this tenant.
const TenantNobody TenantID = "-"

// Prefixes of the ids, without the underscore.
const (
	PrefixInstance = "ins"
	PrefixJob      = "job"
	PrefixEvent    = "evt"
	PrefixDelivery = "dlv"
	PrefixWebhook  = "whk"
	PrefixHost     = "hst"
)

// maxIDLength is more than any id has.
const maxIDLength = 64

// wellFormed reports whether a text that a client sent can be an id at all. What
// cannot is not asked for: a database may refuse the very question.
func wellFormed[ID ~string](id ID) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return len(id) <= maxIDLength
}

// NewID makes a fresh id with the given prefix; ids made later sort later.
type NewID func(prefix string) string
