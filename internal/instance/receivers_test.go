package instance_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/internal/bell"
	"github.com/berth-project/berth/internal/page"
	"github.com/berth-project/berth/internal/tenant"
	"github.com/berth-project/berth/internal/webhook"
)

// traffic is what receivers see: how many deliveries are in flight at each, and in
// which order they came.
type traffic struct {
	mu       sync.Mutex
	inFlight map[string]int
	most     map[string]int
	took     map[string]time.Duration // how long a receiver takes
	dead     map[string]bool
	arrived  map[string][]string // ids that were answered with 2xx
	tried    map[string]int
}

func newTraffic() *traffic {
	return &traffic{
		inFlight: map[string]int{}, most: map[string]int{}, took: map[string]time.Duration{}, dead: map[string]bool{}, arrived: map[string][]string{},
		tried: map[string]int{},
	}
}

func (t *traffic) receive(m webhook.Message) (webhook.Answer, error) {
	t.mu.Lock()
	t.inFlight[m.URL]++
	t.tried[m.URL]++
	t.most[m.URL] = max(t.most[m.URL], t.inFlight[m.URL])
	took := t.took[m.URL]
	t.mu.Unlock()
	<-time.After(took)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inFlight[m.URL]--
	if t.dead[m.URL] {
		return webhook.Answer{}, errors.New("no answer within 15 s")
	}
	t.arrived[m.URL] = append(t.arrived[m.URL], m.ID)
	return webhook.Answer{Status: 204}, nil
}

func (t *traffic) count(url string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.arrived[url])
}

// pool works off the queue as the worker's pool does, with so many at once and in
// the order of the queue, for as long as given.
func (w *world) pool(size int, limit time.Duration, until func() bool) time.Duration {
	w.Helper()
	begun := time.Now()
	tasks := make(chan bell.Task, 100_000)
	var all sync.WaitGroup
	for range size {
		all.Go(func() {
			for task := range tasks {
				if err := w.courier.Deliver(w.ctx, webhook.DeliveryID(task.ID)); err != nil {
					w.Error(err)
				}
			}
		})
	}
	for i := 0; time.Since(begun) < limit && !until(); i++ {
		if i%20 == 0 {
			w.relayOnce(w.relay)
		}
		for _, task := range w.queue.Take() {
			tasks <- task
		}
		w.queue.Done()
		w.pass(50 * time.Millisecond)
	}
	took := time.Since(begun)
	close(tasks)
	all.Wait()
	return took
}

// inTraffic runs the test in a world whose sender is the traffic.
func inTraffic(t *testing.T, run func(*world, *traffic)) {
	t.Helper()
	inWorld(t, func(w *world) {
		tr := newTraffic()
		w.sender.receive = tr.receive
		run(w, tr)
		synctest.Wait()
	})
}

// Receivers that hang for as long as they can, however many and with however much
// for them, do not hold up one that is well.
func TestDeadReceiversDelayNobody(t *testing.T) {
	inTraffic(t, func(w *world, tr *traffic) {
		const dead, each = 12, 15
		for i := range dead {
			url := fmt.Sprintf("https://dead-%d.example/hook", i)
			tr.took[url], tr.dead[url] = 15*time.Second, true
			h, _ := w.hook(url)
			for range each {
				w.ping(h.ID)
			}
		}
		const good = "https://good.example/hook"
		h, _ := w.hook(good)
		for range 5 {
			before := tr.count(good)
			w.ping(h.ID)
			if took := w.pool(webhook.CourierPlaces, time.Minute, func() bool { return tr.count(good) > before }); took > 2*time.Second {
				w.Errorf("it came after %s", took)
			}
		}
		for url, n := range tr.most {
			if n > 2 {
				w.Errorf("%d at once to %s", n, url)
			}
		}
		// What was put back has used no attempt.
		for i := range dead {
			attempts := 0
			url := fmt.Sprintf("https://dead-%d.example/hook", i)
			list, err := w.store.Deliveries(w.ctx, webhook.DeliveryFilter{Tenant: tenant.Default}, page.Page{Limit: 1000})
			w.must(err)
			for _, d := range list {
				if d.URL == url {
					attempts += d.Attempt
				}
			}
			if attempts != tr.tried[url] {
				w.Errorf("%s: %d attempts counted, %d made", url, attempts, tr.tried[url])
			}
		}
	})
}

// Dead receivers that are known as such leave half of the pool to the others, even
// if there are more of them than it has places.
func TestManyDeadReceivers(t *testing.T) {
	inTraffic(t, func(w *world, tr *traffic) {
		const dead, good = 45, "https://good.example/hook"
		for i := range dead {
			url := fmt.Sprintf("https://dead-%d.example/hook", i)
			tr.took[url], tr.dead[url] = 15*time.Second, true
			h, _ := w.hook(url)
			for range 4 {
				w.ping(h.ID)
			}
		}
		w.pool(webhook.CourierPlaces, time.Minute, func() bool { return false }) // they become known
		h, _ := w.hook(good)
		for range 5 {
			before := tr.count(good)
			w.ping(h.ID)
			if took := w.pool(webhook.CourierPlaces, time.Minute, func() bool { return tr.count(good) > before }); took > 2*time.Second {
				w.Errorf("it came after %s", took)
			}
		}
	})
}

// A callback_url's host is a receiver like a webhook: one that hangs does not hold up
// the others.
func TestDeadCallbackHost(t *testing.T) {
	inTraffic(t, func(w *world, tr *traffic) {
		const dead, good = "https://example.com/hook", "https://good.example/hook"
		tr.took[dead], tr.dead[dead] = 15*time.Second, true
		for range 40 {
			w.runOnce(w.create().Job.ID)
		}
		h, _ := w.hook(good)
		w.ping(h.ID)
		if took := w.pool(4, time.Minute, func() bool { return tr.count(good) > 0 }); took > 2*time.Second || tr.most[dead] > 2 {
			w.Errorf("it came after %s; %d at once to the dead one", took, tr.most[dead])
		}
	})
}

// A receiver that comes back gets what has waited for it two at a time, each once,
// roughly in the order of the events, and as fast as it takes them.
func TestBacklogIsSentInOrder(t *testing.T) {
	inTraffic(t, func(w *world, tr *traffic) {
		const url, count = "https://back.example/hook", 100
		tr.took[url] = 97 * time.Millisecond // so that it ends between the looks of others
		h, _ := w.hook(url)
		var want []string
		for range count {
			want = append(want, string(w.ping(h.ID).Event))
			w.pass(time.Millisecond)
		}
		took := w.pool(webhook.CourierPlaces, time.Hour, func() bool { return tr.count(url) == count })
		if got := tr.arrived[url]; len(got) != count || tr.tried[url] != count || tr.most[url] != 2 {
			w.Fatalf("%d of %d arrived in %d attempts, %d at once", len(got), count, tr.tried[url], tr.most[url])
		}
		if took > 30*time.Second { // five seconds of it are the receiver's own
			w.Errorf("it took %s", took)
		}
		position := map[string]int{}
		for i, id := range want {
			position[id] = i
		}
		for i, id := range tr.arrived[url] {
			if off := position[id] - i; max(off, -off) > webhook.CourierPlaces { // those that came together
				w.Errorf("event %d came as number %d", position[id], i)
			}
		}
	})
}

// The longer the line at a receiver that hangs, the less often it is looked at.
func TestLongLineIsCheap(t *testing.T) {
	inTraffic(t, func(w *world, tr *traffic) {
		const url, count = "https://slow.example/hook", 150
		tr.took[url], tr.dead[url] = 15*time.Second, true
		h, _ := w.hook(url)
		for range count {
			w.ping(h.ID)
		}
		w.pool(webhook.CourierPlaces, 2*time.Minute, func() bool { return false })
		generations := int64(0)
		for _, d := range w.deliveriesTo(h.ID) {
			generations += d.Generation
		}
		if looks := float64(generations) / count; looks > 12 {
			w.Errorf("each was looked at %.1f times in two minutes", looks)
		}
		if strings.Contains(w.logged.String(), "level=ERROR") {
			w.Error("errors were logged")
		}
	})
}
