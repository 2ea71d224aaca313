//go:build !chaos

package main

import "github.com/berth-project/berth/internal/job"

// onStep is nothing outside of chaos tests.
func onStep() func(job.Kind, string, bool) { return nil }
