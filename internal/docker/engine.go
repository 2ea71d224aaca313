package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/client"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/ttl"
)

const (
	// pingLimit is short: a ping that takes longer tells as much as one that fails.
	pingLimit = 5 * time.Second
	// stopMargin is what a stop may take beyond its grace period.
	stopMargin = 10 * time.Second
)

// engine is the connection to one Docker engine.
type engine struct {
	name                 string // of the host, for messages
	api                  *client.Client
	limit                time.Duration
	changes, reads       slots
	flights              *flights
	pullLimit, pullStall time.Duration
	golden               goldens

	// shell logs in to the engine's machine; nil: nothing does. ready are the disks there that file
	// systems can be made on.
	shell func(context.Context) (host.Shell, error)
	ready sync.Map

	// ooms is when the memory of containers ran out, by their ids, as the engine told. What
	// it says of a container that has ended leaves that out at times: where its first process
	// is only the parent of the one that was killed.
	ooms ttl.Map[string, time.Time]

	// networked says that the network of instances was there; unbounded that volumes cannot be
	// bounded by their driver.
	networked, unbounded atomic.Bool

	negotiated  atomic.Bool
	docker      atomic.Bool // it has said that it is no Podman
	refused     atomic.Pointer[fault.Error]
	negotiating chan struct{} // holds one token while somebody negotiates
}

// newEngine makes the connection to an engine: by its endpoint, or by what dial gives.
func newEngine(name, endpoint string, config Config, dial func(context.Context) (net.Conn, error)) (*engine, error) {
	at := endpoint
	if dial != nil && strings.HasPrefix(endpoint, "ssh://") {
		at = client.DefaultDockerHost // the name of the other end, for requests
	}
	options := []client.Opt{client.WithHTTPClient(newConnections()), client.WithHost(at), client.WithAPIVersionNegotiation()}
	if dial != nil {
		options = append(options, client.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := dial(ctx)
			return conn, unseen(ctx, err)
		}))
	}
	if dial == nil && config.CertPath != "" && strings.HasPrefix(endpoint, "tcp://") {
		options = append(options, client.WithTLSClientConfig(
			filepath.Join(config.CertPath, "ca.pem"),
			filepath.Join(config.CertPath, "cert.pem"),
			filepath.Join(config.CertPath, "key.pem")))
	}
	api, err := client.NewClientWithOpts(options...)
	if _, bad := client.ParseHostURL(at); err != nil && bad == nil {
		return nil, fault.Errorf(fault.CodeHostUnavailable, err, "host %s: see DOCKER_CERT_PATH: %v", name, err)
	}
	if err != nil {
		return nil, fault.Errorf(fault.CodeHostUnavailable, err,
			"host %s: %q is not the address of a Docker engine (unix:///path or tcp://host:port)", name, endpoint)
	}
	e := &engine{
		name:        name,
		api:         api,
		limit:       config.CallLimit,
		changes:     make(slots, config.Parallel),
		reads:       make(slots, config.Reads),
		negotiating: make(chan struct{}, 1),
		flights:     newFlights(name),
		pullLimit:   config.PullLimit, pullStall: config.PullStall,
		golden: goldens{idle: config.GoldenIdle, limit: config.GoldenLimit, total: config.GoldenTotal},
	}
	return e, nil
}

// newConnections makes a connection for every call. A dockerd that is going down takes
// no new ones, and on old ones does what it is asked to while it ends its containers
// and closes its databases: what is made then it may not know how to clear away later.
func newConnections() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: client.CheckRedirect}
}

func (e *engine) close() error {
	e.flights.close()
	return e.api.Close()
}

// slots holds a token for each call under way. An engine under load gets slower with
// every further call, and then all of them time out, so only some run at once. Those
// that only look have slots of their own: they are many and quick, so that probes do not
// wait behind slow changes, nor changes behind a sweep.
type slots chan struct{}

// take waits for a slot, for as long as the caller does.
func (s slots) take(ctx context.Context, doing string) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
}

func (s slots) free() { <-s }

// read makes one call that changes nothing, within the usual time limit.
func (e *engine) read(ctx context.Context, doing string, call func(context.Context) error) error {
	return e.inSlot(ctx, e.reads, doing, call)
}

// change makes one changing call.
func (e *engine) change(ctx context.Context, doing string, call func(context.Context) error) error {
	return e.inSlot(ctx, e.changes, doing, call)
}

func (e *engine) inSlot(ctx context.Context, of slots, doing string, call func(context.Context) error) error {
	if err := of.take(ctx, doing); err != nil {
		return err
	}
	defer of.free()
	return e.within(ctx, e.limit, doing, call)
}

// within makes one call that may take as long as given, and longer while the engine
// answers a ping meanwhile: an engine under load is slow, and not away, and a call that
// is given up is made again, which is more load. When the caller's own context ends, its
// error is given; everything else is translated.
func (e *engine) within(ctx context.Context, limit time.Duration, doing string, call func(context.Context) error) error {
	inner, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		e.watchCall(inner, limit, cancel)
	}()
	err := e.negotiate(inner)
	if err == nil {
		err = call(inner)
	}
	ended := context.Cause(inner)
	cancel(nil)
	<-watched
	var ours *fault.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	case errors.Is(ended, errTooBusy):
		return fault.Errorf(fault.CodeHostUnavailable, err,
			"host %s: the Docker engine responds to pings, but did not %s within %s; it is overloaded or stuck", e.name, doing, busyTimes*limit)
	case errors.As(err, &ours):
		return err
	default:
		return translate(e.name, doing, err)
	}
}

// busyTimes is how many times its limit a call may take of an engine that answers pings.
const busyTimes = 10

// errSilent and errTooBusy are why a call was given up.
var (
	errSilent  = errors.New("the engine does not respond")
	errTooBusy = errors.New("the engine is busy for too long")
)

// watchCall gives the call up when its time is over and the engine is silent.
func (e *engine) watchCall(ctx context.Context, limit time.Duration, giveUp context.CancelCauseFunc) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for range busyTimes - 1 {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if !e.answers(ctx, limit) {
			giveUp(errSilent)
			return
		}
		timer.Reset(limit)
	}
	select {
	case <-ctx.Done():
	case <-timer.C:
		giveUp(errTooBusy)
	}
}

// answers reports whether the engine answers a ping, in a connection of its own.
func (e *engine) answers(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err := e.api.Ping(ctx)
	return err == nil
}

// ping asks whether the engine answers, within the limit and no longer. What has turned
// out to be no Docker engine fails until another one answers (identity).
func (e *engine) ping(ctx context.Context) error {
	inner, cancel := context.WithTimeout(ctx, min(pingLimit, e.limit))
	defer cancel()
	err := e.negotiate(inner)
	if err == nil {
		_, err = e.api.Ping(inner)
	}
	refused := e.refused.Load()
	switch {
	case err == nil && refused != nil:
		return refused
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("ping: %w", ctx.Err())
	default:
		return translate(e.name, "ping", err)
	}
}

// negotiate agrees on an API version with the engine, once. The SDK would do so
// by itself, but behind a mutex, where callers queue up for a hung engine one time
// limit after the other, and with errors ignored.
func (e *engine) negotiate(ctx context.Context) error {
	if e.negotiated.Load() {
		return nil
	}
	select {
	case e.negotiating <- struct{}{}:
		defer func() { <-e.negotiating }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if e.negotiated.Load() {
		return nil
	}
	ping, err := e.api.Ping(ctx)
	if err != nil {
		return err
	}
	e.api.NegotiateAPIVersionPing(ping)
	e.negotiated.Store(true)
	return nil
}

// podman is how Podman calls itself where it answers as a Docker engine would.
const podman = "Podman Engine"

// isDocker fails where a Podman answers: it has another id each time it is asked, calls
// a taken name no conflict, and does not tell of what was removed. Whoever does not say
// what it is passes.
func (e *engine) isDocker(ctx context.Context) error {
	if e.docker.Load() {
		return nil
	}
	version, err := e.api.ServerVersion(ctx)
	if err != nil {
		return nil //nolint:nilerr // the call that this goes with tells of that
	}
	if len(version.Components) > 0 && version.Components[0].Name == podman {
		e.refused.Store(fault.Errorf(fault.CodeHostRefused, nil,
			"host %s: Podman %s answers at %s, which Berth does not support; set BERTH_DOCKER_HOST to a Docker Engine, 20.10 or later",
			e.name, version.Components[0].Version, e.api.DaemonHost()))
		return e.refused.Load()
	}
	e.docker.Store(true)
	e.refused.Store(nil)
	return nil
}
