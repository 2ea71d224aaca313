// Command testcontainers does for `make bench` what a program does that gets its servers
// from testcontainers-go: start one of the image, wait until it can be used, and end it.
// It is a module of its own, so that Berth depends on nothing of it.
//
// Each line that it reads is a question, each line that it writes its answer.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
)

// question asks for so many servers at once.
type question struct {
	Engine string            `json:"engine"`
	Image  string            `json:"image"`
	Count  int               `json:"count"`
	Labels map[string]string `json:"labels"`
}

// answer has a time for each server, in nanoseconds: from the call until it did real
// work, and from the call that ends it until it is gone.
type answer struct {
	Usable  []time.Duration `json:"usable"`
	Removed []time.Duration `json:"removed"`
	Error   string          `json:"error,omitempty"`
}

type silent struct{}

func (silent) Printf(string, ...any) {}

func main() {
	log.SetDefault(silent{})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	lines, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, "testcontainers:", err)
			os.Exit(1)
		}
		if err := out.Encode(ask(ctx, q)); err != nil {
			os.Exit(1)
		}
	}
}

func ask(ctx context.Context, q question) answer {
	a := answer{Usable: make([]time.Duration, q.Count), Removed: make([]time.Duration, q.Count)}
	servers, errs := make([]testcontainers.Container, q.Count), make([]error, q.Count)
	each(q.Count, func(i int) {
		begun := time.Now()
		servers[i], errs[i] = start(ctx, q)
		a.Usable[i] = time.Since(begun)
	})
	each(q.Count, func(i int) {
		if servers[i] == nil {
			return
		}
		begun := time.Now()
		if err := servers[i].Terminate(context.WithoutCancel(ctx), testcontainers.StopTimeout(0)); err != nil && errs[i] == nil {
			errs[i] = err
		}
		a.Removed[i] = time.Since(begun)
	})
	for _, err := range errs {
		if err != nil {
			a.Error = err.Error()
		}
	}
	return a
}

func each(count int, do func(int)) {
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() { do(i) })
	}
	all.Wait()
}
