package chaos

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// mood is how a receiver treats the first attempt of each webhook.
type mood int

const (
	kind     mood = iota
	silent        // takes it and does not answer
	failing       // 500
	sideways      // redirects to an address inside
	babbling      // 200, and a body without an end
)

// The paths of a receiver beside those of callbacks.
const (
	pathAll    = "/all"    // a webhook for every event
	pathGone   = "/gone"   // always answers 410
	pathInside = "/inside" // where a redirect leads
)

// receiver remembers the webhooks that it has taken, by the path they came to.
type receiver struct {
	url    string
	mu     sync.Mutex
	mood   mood
	met    map[string]bool           // path and webhook id
	taken  map[string]map[string]int // by path and webhook id, how often
	inside int
	over   chan struct{} // closed when the test has ended
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{met: map[string]bool{}, taken: map[string]map[string]int{}, over: make(chan struct{})}
	server := httptest.NewServer(r)
	t.Cleanup(func() {
		close(r.over)
		server.CloseClientConnections()
		server.Close()
	})
	r.url = server.URL
	return r
}

func (r *receiver) set(m mood) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mood = m
}

// ServeHTTP takes a webhook, or does what its mood is.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch m := r.meet(req.URL.Path, req.Header.Get("webhook-id")); {
	case req.URL.Path == pathGone:
		w.WriteHeader(http.StatusGone)
	case m == silent:
		select { // its sender gives up before that
		case <-req.Context().Done():
		case <-r.over:
		case <-time.After(time.Minute):
		}
	case m == failing:
		w.WriteHeader(http.StatusInternalServerError)
	case m == sideways:
		http.Redirect(w, req, r.url+pathInside, http.StatusTemporaryRedirect)
	case m == babbling:
		r.take(req)
		text := []byte(strings.Repeat("and so on ", 100))
		for begun := time.Now(); time.Since(begun) < time.Minute; {
			if _, err := w.Write(text); err != nil {
				return // its sender has heard enough
			}
		}
	default:
		r.take(req)
	}
}

// meet says how the attempt is to be treated.
func (r *receiver) meet(path, id string) mood {
	r.mu.Lock()
	defer r.mu.Unlock()
	if path == pathInside {
		r.inside++
	}
	key := path + " " + id
	if r.met[key] {
		return kind
	}
	r.met[key] = true
	return r.mood
}

func (r *receiver) take(req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken[req.URL.Path] == nil {
		r.taken[req.URL.Path] = map[string]int{}
	}
	r.taken[req.URL.Path][req.Header.Get("webhook-id")]++
}

// ids gives how many different webhooks came to a callback URL.
func (r *receiver) ids(callback string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.taken[strings.TrimPrefix(callback, r.url)])
}

// has reports whether a webhook was taken at the path.
func (r *receiver) has(path, id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken[path][id] > 0
}

func (r *receiver) redirectsFollowed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inside
}
