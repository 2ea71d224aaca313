package docker

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/fault"
)

// TestPodmanIsRefused has Podman answer, which it does as a Docker engine would.
func TestPodmanIsRefused(t *testing.T) {
	r := runtimeOn(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(q.URL.Path, "/info"):
			_ = json.NewEncoder(w).Encode(map[string]string{"ID": rand.Text()})
		case strings.HasSuffix(q.URL.Path, "/version"):
			_ = json.NewEncoder(w).Encode(map[string]any{"Version": "5.4.2", "Components": []map[string]string{{"Name": podman, "Version": "5.4.2"}}})
		}
	}), Config{})
	_, identity := r.Identity(t.Context())
	for name, err := range map[string]error{"identity": identity, "ping after that": r.Ping(t.Context())} {
		var problem *fault.Error
		if !errors.As(err, &problem) || problem.Code != fault.CodeHostRefused || problem.Code.Retryable() {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, words := range []string{"Podman 5.4.2", "BERTH_DOCKER_HOST", "Docker Engine", "20.10"} {
			if !strings.Contains(problem.Message, words) || strings.Contains(problem.Message, "\n") {
				t.Errorf("%s: %q does not say %q in one line", name, problem.Message, words)
			}
		}
	}
}
