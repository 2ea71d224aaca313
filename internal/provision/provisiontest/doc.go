// Package provisiontest holds what tests of the domain and of its adapters share: a
// Runtime in memory, with faults to switch on, and the contract that every Runtime
// has to keep. It knows nothing of Docker.
package provisiontest
