package fleet

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/testenv"
)

// TestCapacity asks for far more than there is room for, while workers are killed and an engine is away:
// exactly as many run as there is room for, and the books are right at every look.
func TestCapacity(t *testing.T) {
	room, wanted, workers := 6, 24, 2
	if long {
		room, wanted, workers = 50, 200, 4
	}
	hosts := testenv.Fleet(t, 2, "redis:8")
	p := newPool(t, workers)
	if j := p.imports("?skip_init=true", header+row(hosts[0], "r1")+row(hosts[1], "r2"), 5*time.Minute); j.text("state") != "succeeded" {
		t.Fatalf("the import is %v", j)
	}
	const small = 128 << 20 // the memory of a small Redis
	for _, h := range hosts {
		got := p.host(h.Name)
		memory := int64(got.below("found")["memory"].(float64))
		p.do("PATCH", "/hosts/"+got.text("id"), object{"overcommit": object{
			"cpu_percent": 0, "memory_percent": 100, "reserved_cpu": 0, "reserved_memory": memory/100*100 - int64(room/2)*small,
		}}, 200)
	}
	ids, jobs := make([]string, wanted), make([]string, wanted)
	var all sync.WaitGroup
	for i := range wanted {
		all.Go(func() {
			status, a, err := p.ask("POST", "/storage/redis/instances", object{"name": fmt.Sprintf("c-%d", i), "timeout": "5m", "placement": object{"region": "eu"}})
			if err != nil || status != 202 && a.text("code") != "no_capacity" {
				t.Errorf("create %d: %d, %v, %v", i, status, a, err)
				return
			}
			ids[i], jobs[i] = a.below("instance").text("id"), a.below("job").text("id")
		})
	}
	disturbed := make(chan struct{})
	go func() {
		defer close(disturbed)
		<-time.After(500 * time.Millisecond) // in the middle of the creates, wherever that is
		p.workers[0].Kill()
		hosts[1].Stop(t)
		p.workers[0] = testenv.Start(t, binary, p.settings, "worker")
		hosts[1].Start(t)
	}()
	all.Wait()
	<-disturbed
	running := 0
	for i, job := range jobs {
		if job == "" {
			continue
		}
		switch j := p.ended(job, 8*time.Minute); {
		case j.text("state") == "succeeded":
			running++
			p.uses(p.do("GET", "/storage/instances/"+ids[i], nil, 200))
		case j.below("error").text("code") != "no_capacity":
			t.Errorf("create %d failed with %v", i, j["error"])
		}
		p.books()
	}
	if running != room {
		t.Errorf("%d run in room for %d", running, room)
	}
	for _, i := range p.do("GET", "/storage/instances?limit=200", nil, 200).items() {
		p.succeeded(p.do("DELETE", "/storage/redis/instances/"+i.text("id"), nil, 202).below("job").text("id"), 3*time.Minute)
	}
	p.books()
	for _, h := range hosts {
		used := p.host(h.Name).below("used")
		if used["instances"].(float64) != 0 || used["memory"].(float64) != 0 {
			t.Errorf("nothing is on %s, and %v is used", h.Name, used)
		}
		p.left(h)
	}
}
