//go:build !chaos

package main

import "github.com/berth-project/berth/internal/provision"

// onStep is nothing outside of chaos tests.
func onStep() func(provision.JobKind, string, bool) { return nil }
