package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/engine"
	"github.com/berth-project/berth/internal/secret"
)

const (
	// stormLanes is how many of the bare way are under way at once: as many changing calls
	// as Berth makes to a host.
	stormLanes = 8
	// stormTarget is what Berth may take over the bare way: nine tenths of its rate.
	stormTarget = 1 / 0.9
)

// measureStorm asks for many Redis at one moment, with idle cores and with busy ones, in
// turns with bare calls to Docker of which as many are under way at once.
func measureStorm(ctx context.Context, b *bench) error {
	if b.storm == 0 {
		return nil
	}
	redis, err := engine.Catalog(engine.Config{}).Find("redis")
	if err != nil {
		return err
	}
	bare, err := b.newBare(ctx, redis)
	if err != nil {
		return err
	}
	for _, busy := range []bool{false, true} {
		cores := "idle cores"
		if busy {
			cores = "busy cores"
		}
		var mine, theirs []time.Duration
		for turn := range 2 {
			err := b.whileBusy(ctx, busy, func() error {
				byBare := func() error {
					took, err := b.stormBare(ctx, bare, turn)
					theirs = append(theirs, took)
					return err
				}
				byBerth := func() error {
					took, err := b.stormBerth(ctx, cores)
					mine = append(mine, took)
					return err
				}
				if turn%2 == 0 {
					return errors.Join(byBare(), byBerth())
				}
				return errors.Join(byBerth(), byBare())
			})
			if err != nil {
				return err
			}
		}
		what := fmt.Sprintf("redis, %d at once, %s, until the last is usable: ", b.storm, cores)
		other := times(what+byBareBounded, theirs).inTurns()
		r := times(what+byBerth, mine).inTurns().beside(other).aim("ratio", stormTarget)
		r.Beside = byBareBounded
		b.add(r)
	}
	return nil
}

const byBareBounded = "bare Docker, as many under way"

// whileBusy does it while there is a process for each core that only burns time.
func (b *bench) whileBusy(ctx context.Context, busy bool, do func() error) error {
	if busy {
		ctx, cancel := context.WithTimeout(ctx, time.Hour)
		var burning []*exec.Cmd
		defer func() {
			cancel()
			for _, cmd := range burning {
				_ = cmd.Wait() // killed
			}
		}()
		for range runtime.NumCPU() {
			cmd := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
			if err := cmd.Start(); err != nil {
				return err
			}
			burning = append(burning, cmd)
		}
	}
	return do()
}

// stormBare gives how long bare calls take for all of them.
func (b *bench) stormBare(ctx context.Context, bare *bare, turn int) (time.Duration, error) {
	errs, lanes := make([]error, b.storm), make(chan struct{}, stormLanes)
	name := func(i int) string { return bare.name("storm-"+strconv.Itoa(turn), i) }
	begun := time.Now()
	var all sync.WaitGroup
	for i := range b.storm {
		lanes <- struct{}{}
		all.Go(func() {
			defer func() { <-lanes }()
			_, errs[i] = bare.start(ctx, name(i), bare.credentials(), true)
		})
	}
	all.Wait()
	took := time.Since(begun)
	for i := range b.storm {
		errs = append(errs, b.docker.delete(ctx, "/containers/"+name(i)+"?force=true&v=true"), b.docker.delete(ctx, "/volumes/"+name(i)))
	}
	return took, errors.Join(errs...)
}

// stormBerth gives how long a Berth of its own takes for all of them. No job may need a
// second attempt or pass its deadline, and none may be overtaken by more than are under way.
func (b *bench) stormBerth(ctx context.Context, cores string) (took time.Duration, err error) {
	d, err := b.startDev(ctx, "storm-"+runID(), "25400-25899")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.close(ctx)) }()
	begun := time.Now()
	made := make([]client.Accepted, b.storm)
	for i := range made {
		if made[i], err = d.client.Create(ctx, "redis", secret.APIKey(), client.CreateRequest{}); err != nil {
			return 0, err
		}
	}
	jobs := make([]client.Job, b.storm)
	for i := range made {
		if err := waitFor(ctx, d.client, made[i].Job.ID); err != nil {
			return 0, err
		}
	}
	took = time.Since(begun)
	again := 0
	for i := range made {
		if jobs[i], err = d.client.Job(ctx, made[i].Job.ID, 0); err != nil {
			return 0, err
		}
		if jobs[i].Attempt > 1 {
			again++
		}
	}
	prefix := fmt.Sprintf("redis, %d at once, %s: ", b.storm, cores)
	b.add(one(prefix+"creates that were tried again", "jobs", float64(again)).aim("median", 0),
		one(prefix+"places that a create was overtaken by", "jobs", float64(overtaken(jobs))).aim("median", 2*stormLanes))
	return took, nil
}

// overtaken gives by how many later ones a job was begun after, at the most.
func overtaken(jobs []client.Job) (most int) {
	order := make([]int, len(jobs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(started(jobs[a]).Compare(started(jobs[b])), cmp.Compare(a, b))
	})
	for place, i := range order {
		most = max(most, place-i)
	}
	return most
}

func started(j client.Job) time.Time {
	if j.StartedAt == nil {
		return time.Time{}
	}
	return *j.StartedAt
}
