package provision

// The types of events.
const (
	EventInstancePending      = "instance.pending"
	EventInstanceProvisioning = "instance.provisioning"
	EventInstanceRunning      = "instance.running"
	EventInstanceFailed       = "instance.failed"
	EventInstanceDeleting     = "instance.deleting"
	EventInstanceDeleted      = "instance.deleted"
	EventGoldenFailed         = "golden.failed"
)
