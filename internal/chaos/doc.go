// Package chaos breaks things on purpose: it starts Berth in its production shape,
// drives creates and deletes with a seeded random schedule, injects faults, and
// looks after each whether anything was lost, leaked or done twice.
//
// `make chaos` runs it for CHAOS_MINUTES with CHAOS_SEED; the short form is part of
// `make test`. It holds tests only.
package chaos
