// Package instancetest holds what tests of instances share: an Engine whose servers exist in
// memory only.
package instancetest
