// Package fleet tests Berth with a pool of real hosts: several Docker engines in network
// namespaces, bare machines with nothing but sshd, and Berth's own processes. `make fleet` runs its
// long form, `make test` the short one.
package fleet
