package docker

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/docker/docker/api/types/volume"

	"github.com/berth-project/berth/internal/host"
)

// TestVolumeIsBounded speaks to engines whose volumes can have a size, and to such whose can
// not, in the words of each.
func TestVolumeIsBounded(t *testing.T) {
	w := host.Workload{Unit: "ins_q", Fence: 1, Resources: host.Resources{DiskBytes: 1 << 30, MemoryBytes: 1 << 20}}
	for name, test := range map[string]struct {
		refusal string
		status  int
	}{
		"quotas":              {},
		"no quotas":           {"quota size requested but no quota support", http.StatusBadRequest},
		"no quotas, by 20.10": {"create berth-ins_q: quota size requested for volume but no quota support", http.StatusInternalServerError},
		"no such option":      {`create berth-ins_q: invalid option: "size"`, http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []volume.CreateOptions
			r := runtimeOn(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				w.Header().Set("Api-Version", "1.41")
				if q.URL.Path == "/_ping" {
					return
				}
				w.Header().Set("Content-Type", "application/json")
				var o volume.CreateOptions
				body, _ := io.ReadAll(q.Body)
				if err := json.Unmarshal(body, &o); err != nil {
					t.Error(err)
				}
				asked = append(asked, o)
				if o.DriverOpts[optionSize] != "" && test.refusal != "" {
					w.WriteHeader(test.status)
					_ = json.NewEncoder(w).Encode(map[string]string{"message": test.refusal})
					return
				}
				w.WriteHeader(http.StatusCreated)
				_ = json.NewEncoder(w).Encode(volume.Volume{Name: o.Name, Labels: o.Labels, Options: o.DriverOpts})
			}), Config{Deployment: "one"})
			for range 2 {
				if err := r.CreateVolume(t.Context(), w); err != nil {
					t.Fatal(err)
				}
			}
			ceiling := strconv.FormatInt(w.Resources.DiskCeiling(), 10)
			want := []string{ceiling, ceiling}
			if test.refusal != "" {
				want = []string{ceiling, "", ""} // one that cannot is asked once
			}
			if len(asked) != len(want) {
				t.Fatalf("it was asked %d times, want %d", len(asked), len(want))
			}
			for i, o := range asked {
				if o.DriverOpts[optionSize] != want[i] {
					t.Errorf("call %d asked for size %q, want %q", i+1, o.DriverOpts[optionSize], want[i])
				}
			}
		})
	}
}
