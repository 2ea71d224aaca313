package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// testcontainers is the program that uses testcontainers-go, a module of its own.
type testcontainers struct {
	labels map[string]string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
}

var errLeftOut = errors.New("it was left out")

// testcontainers builds and starts the program, once.
func (b *bench) testcontainers(ctx context.Context) (*testcontainers, error) {
	if b.tcs != nil || b.tc == "" {
		if b.tcs == nil {
			return nil, errLeftOut
		}
		return b.tcs, nil
	}
	binary := filepath.Join(b.dir, "testcontainers")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, ".") //nolint:gosec // our own path
	build.Dir = b.tc
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("it does not build: %w: %s", err, out)
	}
	cmd := exec.CommandContext(ctx, binary) //nolint:gosec // what was built above
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	// Its reaper is an image of its own, which is not everywhere; this run removes what it makes.
	cmd.Env, cmd.Stderr = append(os.Environ(), "TESTCONTAINERS_RYUK_DISABLED=true"), os.Stderr
	if host := os.Getenv("BERTH_DOCKER_HOST"); host != "" {
		cmd.Env = append(cmd.Env, "DOCKER_HOST="+host)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b.tcs = &testcontainers{labels: map[string]string{"berth.bench": b.id}, cmd: cmd, in: in, out: bufio.NewScanner(out)}
	b.tcs.out.Buffer(nil, 1<<20)
	return b.tcs, nil
}

// peerLimit is how long a question may take; the library's own limit for a start is shorter.
const peerLimit = 10 * time.Minute

// ask has so many servers started at once, and ended. It gives each one's times. A program
// that takes too long is ended.
func (t *testcontainers) ask(ctx context.Context, engine, image string, count int) (usable, removed []time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, peerLimit)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = t.cmd.Process.Signal(syscall.SIGTERM) })()
	question, err := json.Marshal(map[string]any{"engine": engine, "image": image, "count": count, "labels": t.labels})
	if err != nil {
		return nil, nil, err
	}
	if _, err := t.in.Write(append(question, '\n')); err != nil {
		return nil, nil, err
	}
	if !t.out.Scan() {
		return nil, nil, errors.Join(t.out.Err(), errors.New("the program that uses testcontainers-go has ended"))
	}
	var answer struct {
		Usable  []time.Duration `json:"usable"`
		Removed []time.Duration `json:"removed"`
		Error   string          `json:"error"`
	}
	if err := json.Unmarshal(t.out.Bytes(), &answer); err != nil {
		return nil, nil, err
	}
	if answer.Error != "" {
		return nil, nil, errors.New(answer.Error)
	}
	return answer.Usable, answer.Removed, nil
}

func (t *testcontainers) close() error {
	if t == nil {
		return nil
	}
	_ = t.in.Close()
	_ = t.cmd.Wait() // interrupted, it has said so
	return nil
}
