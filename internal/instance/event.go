package instance

// The types of events.
const (
	EventPending      = "instance.pending"
	EventProvisioning = "instance.provisioning"
	EventRunning      = "instance.running"
	EventUpdating     = "instance.updating"
	EventStopped      = "instance.stopped"
	EventFailed       = "instance.failed"
	EventDeleting     = "instance.deleting"
	EventDeleted      = "instance.deleted"
	EventGoldenFailed = "golden.failed"
)
