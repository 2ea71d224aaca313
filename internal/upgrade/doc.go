// Package upgrade has the rolling upgrade from an earlier release: its processes and those of
// this one on one database, with jobs in flight. `make upgrade` builds the earlier release.
package upgrade
