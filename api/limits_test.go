package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host/hosttest"
	"github.com/berth-project/berth/internal/job"
)

// What was asked for shows in the answers, and a failed create that is kept says
// until when.
func TestTimeoutAndPolicy(t *testing.T) {
	b := newBench(t)
	b.runtime.Fail(hosttest.MethodStart, hosttest.Fault{Before: true, Err: fault.Errorf(fault.CodeGone, nil, "no luck for good")})
	a := b.call("POST", redisPath, `{"timeout":"10s","on_failure":"keep"}`).is(202, "")
	created, err1 := time.Parse(time.RFC3339, a.text("job.created_at"))
	deadline, err2 := time.Parse(time.RFC3339, a.text("job.deadline"))
	if err1 != nil || err2 != nil || deadline.Sub(created) != 10*time.Second || a.text("job.on_failure") != "keep" {
		t.Errorf("%s", a.body)
	}
	b.work()
	got := b.call("GET", redisPath+"/"+a.text("instance.id"), "").is(200, "")
	until, err := time.Parse(time.RFC3339, got.text("kept_until"))
	if left := time.Until(until); err != nil || left < 59*time.Minute || left > time.Hour || got.text("state") != "failed" || !strings.Contains(got.text("reason"), "kept") || got.json["endpoint"] == nil {
		t.Errorf("%s", got.body)
	}
	if d := b.call("POST", redisPath, ``).is(202, ""); d.text("job.on_failure") != "cleanup" || d.text("instance.kept_until") != "" {
		t.Errorf("%s", d.body)
	}
}

// A create beyond the limit is refused with a time to come back, and changes nothing.
func TestTooManyJobs(t *testing.T) {
	b := newBench(t)
	for range job.DefaultMaxPerTenant {
		b.call("POST", redisPath, "").is(202, "")
	}
	before := b.rows()
	got := b.call("POST", redisPath, "", "Idempotency-Key", "k").is(429, "too_many_jobs")
	if got.header.Get("Retry-After") != "3" || !strings.Contains(got.text("detail"), "1000") || b.rows() != before {
		t.Errorf("%v %s", got.header, got.body)
	}
	list := b.call("GET", redisPath+"?limit=1", "").is(200, "")
	items, _ := list.json["items"].([]any)
	first, _ := items[0].(map[string]any)
	b.call("DELETE", redisPath+"/"+first["id"].(string), "").is(202, "")
	b.queue.Flush()
}
