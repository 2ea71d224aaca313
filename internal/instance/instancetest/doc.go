// Package instancetest holds what tests of instances and of the store share: an Engine whose
// servers exist in memory only, and the contract that every Store has to keep.
package instancetest
