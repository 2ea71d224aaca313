// Package roomstest holds the contract that every store of the rooms has to keep.
package roomstest
