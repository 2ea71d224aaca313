package smoke

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/berth-project/berth/internal/testenv"
)

// receiver is a program that wants to be told how jobs end.
type receiver struct {
	url string
	mu  sync.Mutex
	got []delivery
}

type delivery struct {
	path   string
	header http.Header
	body   []byte
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, delivery{req.Method + " " + req.URL.Path, req.Header.Clone(), body})
	}))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

// to gives what came to a path.
func (r *receiver) to(path string) []delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []delivery
	for _, d := range r.got {
		if d.path == "POST "+path {
			found = append(found, d)
		}
	}
	return found
}

// expect waits for the one callback to a path, and checks its signature and what it
// says.
func (r *receiver) expect(t *testing.T, path, secret, event, instance, job string) {
	t.Helper()
	testenv.Eventually(t, "callback "+path, 20*time.Second, func(context.Context) error {
		if len(r.to(path)) == 0 {
			return errors.New("nothing came")
		}
		return nil
	})
	all := r.to(path)
	if len(all) != 1 {
		t.Errorf("callback %s came %d times", path, len(all))
	}
	verifier, err := standard.NewWebhook(secret)
	if err != nil {
		t.Fatalf("the signing secret is not one of Standard Webhooks: %v", err)
	}
	if err := verifier.Verify(all[0].body, all[0].header); err != nil {
		t.Errorf("callback %s: %v", path, err)
	}
	if err := verifier.Verify(append(all[0].body, ' '), all[0].header); err == nil {
		t.Errorf("callback %s: a changed body has a valid signature, too", path)
	}
	var said struct {
		Type string `json:"type"`
		Data struct {
			Job      struct{ ID, State string } `json:"job"`
			Instance struct{ ID string }        `json:"instance"`
		} `json:"data"`
	}
	if err := json.Unmarshal(all[0].body, &said); err != nil {
		t.Fatalf("callback %s: %v", path, err)
	}
	got := fmt.Sprint(said.Type, " ", said.Data.Instance.ID, " ", said.Data.Job.ID, " ", said.Data.Job.State)
	if want := fmt.Sprint(event, " ", instance, " ", job, " succeeded"); got != want {
		t.Errorf("callback %s says %s, want %s", path, got, want)
	}
}
