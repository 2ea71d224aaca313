// Package hosttest holds what tests of hosts and of what runs on them share: a Runtime in
// memory, with faults to switch on, and the contract that every Runtime has to keep. It
// knows nothing of Docker.
package hosttest
