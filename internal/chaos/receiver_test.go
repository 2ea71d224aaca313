package chaos

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// receiver remembers the ids of the webhooks that came to each path.
type receiver struct {
	url string
	mu  sync.Mutex
	got map[string][]string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{got: map[string][]string{}}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got[req.URL.Path] = append(r.got[req.URL.Path], req.Header.Get("webhook-id"))
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// ids gives how many different webhooks came to a callback URL.
func (r *receiver) ids(callback string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := slices.Clone(r.got[callback[len(r.url):]])
	slices.Sort(ids)
	return len(slices.Compact(ids))
}
