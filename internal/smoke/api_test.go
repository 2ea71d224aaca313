package smoke

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// server is a Berth to be tested: its address, its key and a client.
type server struct {
	*client.Client
	url, key string
}

func newServer(t *testing.T, url, key string) *server {
	t.Helper()
	c, err := client.New(client.Config{URL: url, APIKey: key})
	if err != nil {
		t.Fatal(err)
	}
	return &server{Client: c, url: strings.TrimSuffix(url, "/"), key: key}
}

// get gives status and body of any page of the server.
func (s *server) get(ctx context.Context, path string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	body, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	return res.StatusCode, string(body), err
}

// awaitReady waits until /readyz is content.
func (s *server) awaitReady(t *testing.T, by *testenv.Process) {
	t.Helper()
	testenv.Eventually(t, "the server is ready", 30*time.Second, func(ctx context.Context) error {
		if over, err := by.Ended(); over {
			t.Fatalf("%s has ended: %v\n%s", by.Name(), err, testenv.Tail(by.Log(), 20))
		}
		status, body, err := s.get(ctx, "/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d: %s", status, body)
		}
		return err
	})
}

// await waits for the job's end, which must be a success.
func (s *server) await(ctx context.Context, job client.Job, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	last, err := s.WaitJob(ctx, job.ID, 5*time.Second, nil)
	switch {
	case err != nil:
		return fmt.Errorf("wait for %s %s, last seen %s: %w", job.Kind, job.ID, last.State, err)
	case last.State != client.JobSucceeded:
		return fmt.Errorf("%s %s is %s: %+v", job.Kind, job.ID, last.State, last.Error)
	}
	return nil
}

// remove deletes the instance and waits until that is done.
func (s *server) remove(ctx context.Context, inst client.Instance) error {
	accepted, err := s.Delete(ctx, inst)
	if err != nil {
		return fmt.Errorf("delete %s: %w", inst.ID, err)
	}
	return s.await(ctx, accepted.Job, 2*time.Minute)
}

// deleteWithCallback is Delete with the one thing that the client's has no word for.
func (s *server) deleteWithCallback(ctx context.Context, inst client.Instance, callback string) (client.Accepted, error) {
	var accepted client.Accepted
	target := s.url + "/api/v1/storage/" + inst.Engine + "/instances/" + inst.ID + "?callback_url=" + url.QueryEscape(callback)
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, target, nil)
	if err != nil {
		return accepted, err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return accepted, err
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	if res.StatusCode != http.StatusAccepted {
		return accepted, fmt.Errorf("status %s", res.Status)
	}
	return accepted, json.NewDecoder(res.Body).Decode(&accepted)
}
