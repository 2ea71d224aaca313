// Package stopsignal receives the signals that ask a process to stop, from its first
// milliseconds on. It imports nothing that takes time to initialize, and nothing of
// Berth's, so that Go initializes it before almost everything else: until then a signal
// ends the process as one that was killed, where it should end in order.
package stopsignal

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// arrived has room for more signals than anybody means.
var arrived = make(chan os.Signal, 16)

func init() { signal.Notify(arrived, os.Interrupt, syscall.SIGTERM) }

// Context gives a context that ends with the first SIGINT or SIGTERM, also one that has
// arrived before. SIGTERM may come again and changes nothing: supervisors repeat it. A
// second SIGINT is a person who does not want to wait, for whom atOnce is called.
func Context(parent context.Context, atOnce func()) context.Context {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		interrupts := 0
		for s := range arrived {
			if s == os.Interrupt {
				interrupts++
			}
			if interrupts > 1 {
				atOnce()
			}
			cancel()
		}
	}()
	return ctx
}

// Restore has the signals end the process again, as they do where nobody asks for them.
func Restore() { signal.Reset(os.Interrupt, syscall.SIGTERM) }
