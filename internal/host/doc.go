// Package host owns the machines that units run on: how a unit is run (Runtime), which
// engine a host is known by (Known), where a unit is placed (Placement), who holds which
// port (Ports), and the comparison of what hosts have with what is written (Reconciler,
// Watcher). Before machines are hosts it logs in to them (Machines), asks what they are
// (Inventory, Check) and prepares them (Fix). It must not know what a unit is for: a
// subject's id names it, and Residents say what is written of it.
//
// Between a job and the engine of a host there are three, each of which names every method
// of Runtime, so that no call passes by:
//
//	Leased ──► Known ──► the adapter
//	(the job's lease     (the engine that      (Docker, or
//	 is held still)       answers is the       simulated)
//	                      host's own)
package host
