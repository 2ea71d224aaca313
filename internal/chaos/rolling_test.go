package chaos

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// TestRollingRestart stops and starts every process, one after the other, while clients
// go on: no request is dropped, though none is repeated, no job fails, and every
// process ends in order.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, production)
	addresses := []string{w.addr, testenv.FreeAddress(t)}
	startSecond := func() *testenv.Process {
		return testenv.Start(t, binary, append(w.settings, "BERTH_HTTP_ADDR="+addresses[1]), "api")
	}
	second := startSecond()
	front := newBalancer(t, addresses)
	front.await(t, 2)
	caller, err := client.New(client.Config{URL: front.url, APIKey: w.key, Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	var (
		load sync.WaitGroup
		done atomic.Int64
		over atomic.Bool
	)
	ctx := t.Context()
	for range 3 {
		load.Go(func() {
			for !over.Load() {
				if err := useOnce(ctx, caller); err != nil {
					t.Errorf("during a rolling restart: %v", err)
					return
				}
				done.Add(1)
			}
		})
	}
	for i := range w.workers {
		w.workers[i].Stop() // it must end with 0
		w.workers[i] = testenv.Start(t, binary, w.settings, "worker")
	}
	w.api.Stop()
	w.startAPI()
	front.await(t, 2)
	second.Stop()
	startSecond()
	front.await(t, 2)
	over.Store(true)
	load.Wait()
	if v := w.check(); !v.good() {
		t.Errorf("lost %v, leaked %v", v.lost, v.leaked)
	}
	t.Logf("%d instances were made, used and deleted meanwhile", done.Load())
	if done.Load() < 3 {
		t.Error("there was hardly any load")
	}
}

// useOnce has an instance made and deleted.
func useOnce(ctx context.Context, c *client.Client) error {
	a, err := c.Create(ctx, "redis", "", client.CreateRequest{})
	if err != nil {
		return err
	}
	if _, err := c.Instances(ctx, client.InstanceFilter{}); err != nil {
		return err
	}
	if err := succeeds(ctx, c, a.Job.ID); err != nil {
		return err
	}
	if _, err := c.Connection(ctx, a.Instance); err != nil {
		return err
	}
	if a, err = c.Delete(ctx, a.Instance); err != nil {
		return err
	}
	return succeeds(ctx, c, a.Job.ID)
}

// succeeds waits for the job by long polls, none of which may fail.
func succeeds(ctx context.Context, c *client.Client, id string) error {
	for {
		job, err := c.Job(ctx, id, 30*time.Second)
		switch {
		case err != nil:
			return err
		case job.State == client.JobSucceeded:
			return nil
		case job.State != client.JobQueued && job.State != client.JobRunning:
			return errors.New("job " + id + " is " + job.State)
		}
	}
}

// balancer is a load balancer as they all are: it asks each server whether it is
// ready, and sends a request elsewhere if the server takes no connection.
type balancer struct {
	url     string
	servers []string
	ready   []atomic.Bool
	turn    atomic.Int64
}

const healthEvery = 200 * time.Millisecond

func newBalancer(t *testing.T, servers []string) *balancer {
	t.Helper()
	b := &balancer{servers: servers, ready: make([]atomic.Bool, len(servers))}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var looks sync.WaitGroup
	for i := range servers {
		looks.Go(func() { b.watch(ctx, i) })
	}
	front := httptest.NewServer(&httputil.ReverseProxy{Transport: b, Rewrite: func(*httputil.ProxyRequest) {}})
	t.Cleanup(func() {
		front.Close()
		stop()
		looks.Wait()
	})
	b.url = front.URL
	return b
}

func (b *balancer) watch(ctx context.Context, i int) {
	ticker := time.NewTicker(healthEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		b.ready[i].Store(isReady(ctx, b.servers[i]))
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func isReady(ctx context.Context, server string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+server+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// await waits until so many servers are ready.
func (b *balancer) await(t *testing.T, want int) {
	t.Helper()
	testenv.Eventually(t, "the servers are ready", time.Minute, func(context.Context) error {
		n := 0
		for i := range b.ready {
			if b.ready[i].Load() {
				n++
			}
		}
		if n != want {
			return errors.New("not yet")
		}
		return nil
	})
}

// RoundTrip sends the request to the next server that is ready.
func (b *balancer) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	err := errors.New("no server is ready")
	for range 2 * len(b.servers) {
		i := int(b.turn.Add(1)) % len(b.servers)
		if !b.ready[i].Load() {
			continue
		}
		out := req.Clone(req.Context())
		out.URL.Scheme, out.URL.Host = "http", b.servers[i]
		out.Body, out.GetBody = io.NopCloser(bytes.NewReader(body)), nil // what has been sent is not sent again
		var res *http.Response
		res, err = http.DefaultTransport.RoundTrip(out)
		var op *net.OpError
		if err == nil || !errors.As(err, &op) || op.Op != "dial" {
			return res, err
		}
	}
	return nil, err
}
