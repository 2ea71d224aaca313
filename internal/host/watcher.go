package host

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Watcher listens to the news of every host and has looked at what is said to have
// ended, so that nobody waits for the next sweep. News may be lost or
// come twice: the sweep finds what they do not tell.
type Watcher struct {
	Store      Reader
	Runtimes   Runtimes
	Reconciler *Reconciler
	Log        *slog.Logger
}

const (
	// hostsEvery is how often is looked for new hosts.
	hostsEvery = 10 * time.Second
	// newsDelay is how long after the news of an end is looked: somebody who restarts a
	// container by hand ends it first.
	newsDelay = time.Second
	newsRetry = 3 * time.Second
	maxNews   = 4096
)

// Run listens until the context ends, and waits for everything that it has begun.
func (w *Watcher) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	watched := map[ID]watchedHost{}
	ticker := time.NewTicker(hostsEvery)
	defer ticker.Stop()
	for {
		hosts, err := w.Store.HostsInShort(ctx)
		if err != nil && ctx.Err() == nil {
			w.Log.WarnContext(ctx, "cannot list the hosts to watch", "error", err)
		}
		if err == nil {
			endGone(watched, hosts)
		}
		for _, host := range hosts {
			if _, known := watched[host.ID]; known || !host.Joined() {
				continue
			}
			// Each host has its own, so that one that hangs delays no news of another.
			of, end := context.WithCancel(ctx)
			watched[host.ID] = watchedHost{endpoint: host.Endpoint, end: end}
			news := make(chan UnitID, maxNews)
			all.Go(func() { w.listen(of, host, news) })
			all.Go(func() { w.look(of, host.ID, news) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// watchedHost is a host whose news are listened to.
type watchedHost struct {
	endpoint string
	end      context.CancelFunc
}

// endGone ends the listening to hosts that are not there any more, or are reached otherwise by now.
func endGone(watched map[ID]watchedHost, hosts []Host) {
	at := make(map[ID]string, len(hosts))
	for i := range hosts {
		at[hosts[i].ID] = hosts[i].Endpoint
	}
	for id, w := range watched {
		if endpoint, there := at[id]; !there || endpoint != w.endpoint {
			w.end()
			delete(watched, id)
		}
	}
}

// listen passes the news of a host on.
func (w *Watcher) listen(ctx context.Context, host Host, news chan<- UnitID) {
	for ctx.Err() == nil {
		runtime, err := w.Runtimes.Runtime(host)
		if err == nil {
			err = runtime.Watch(ctx, func(id UnitID) {
				select {
				case news <- id:
				default: // more than anybody could look at: the sweep will
				}
			})
		}
		if ctx.Err() != nil {
			return
		}
		w.Log.WarnContext(ctx, "the event stream of a host is down; reconnecting", "host", host.Name, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(newsRetry):
		}
	}
}

// look waits a moment after each piece of news, gathering what else comes, and then
// looks at each instance once.
func (w *Watcher) look(ctx context.Context, host ID, news <-chan UnitID) {
	for {
		ended := map[UnitID]bool{}
		select {
		case <-ctx.Done():
			return
		case id := <-news:
			ended[id] = true
		}
		delay := time.After(newsDelay)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case id := <-news:
				ended[id] = true
			case <-delay:
				waiting = false
			}
		}
		w.checkAll(ctx, host, ended)
	}
}

// checksAtOnce bounds how many instances are looked at together.
const checksAtOnce = 16

func (w *Watcher) checkAll(ctx context.Context, host ID, ended map[UnitID]bool) {
	var all sync.WaitGroup
	defer all.Wait()
	slots := make(chan struct{}, checksAtOnce)
	for id := range ended {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if err := w.check(ctx, host, id); err != nil && ctx.Err() == nil {
				w.Log.WarnContext(ctx, "could not handle an event of an instance", "instance", id, "error", err)
			}
		})
	}
}

func (w *Watcher) check(ctx context.Context, host ID, id UnitID) error {
	if id == "" {
		_, err := w.Reconciler.RunHost(ctx, host)
		return err
	}
	_, err := w.Reconciler.Residents.Check(ctx, id)
	return err
}
