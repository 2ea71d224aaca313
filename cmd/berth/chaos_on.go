//go:build chaos

package main

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/berth-project/berth/internal/job"
)

// onStep lets a worker that is built for chaos tests come to grief at a point such as
// "instance.create/start/before": at the one that BERTH_CHAOS_KILL names it ends, as by a
// power cut; at the one that BERTH_CHAOS_STOP names it stands still, once, until it is
// sent SIGCONT.
func onStep() func(job.Kind, string, bool) {
	kill, stop := os.Getenv("BERTH_CHAOS_KILL"), os.Getenv("BERTH_CHAOS_STOP")
	if kill == "" && stop == "" {
		return nil
	}
	var once sync.Once
	return func(kind job.Kind, step string, after bool) {
		when := "before"
		if after {
			when = "after"
		}
		switch fmt.Sprintf("%s/%s/%s", kind, step, when) {
		case kill:
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // nothing more happens here
		case stop:
			once.Do(standStill)
		}
	}
}

// standStill stops the process, and returns once it was continued. The system may let a
// thread run on for a moment before all of them stop: it must not begin the next step then.
func standStill() {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	<-continued
}
