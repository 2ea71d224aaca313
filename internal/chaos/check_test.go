package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/testenv"
)

// verdict is what a look at everything has found.
type verdict struct{ lost, leaked []string }

// check compares what was promised with what is there. Everything has ended by now.
func (w *world) check() verdict {
	w.Helper()
	var v verdict
	var want []string
	for _, o := range w.known() {
		ctx, cancel := context.WithTimeout(w.Context(), 30*time.Second)
		inst, err := w.client.Instance(ctx, o.instance.ID)
		switch {
		case err != nil:
			v.lost = append(v.lost, fmt.Sprintf("%s: %v", o.instance.ID, err))
		case inst.State == client.InstanceRunning:
			want = append(want, "berth-"+inst.ID)
			if err := w.works(ctx, inst); err != nil {
				v.lost = append(v.lost, fmt.Sprintf("%s runs and does not work: %v", inst.ID, err))
			}
		case inst.State != "deleted" && inst.State != "failed":
			v.lost = append(v.lost, fmt.Sprintf("%s is %s: %s", inst.ID, inst.State, inst.Reason))
		}
		cancel()
		v.lost = append(v.lost, w.checkCallbacks(o)...)
	}
	slices.Sort(want)
	label := "label=berth.deployment=" + w.deployment
	containers := strings.Fields(w.dockerCLI("ps", "-a", "--format", "{{.Names}}", "--filter", label))
	volumes := strings.Fields(w.dockerCLI("volume", "ls", "-q", "--filter", label))
	for what, have := range map[string][]string{"container": containers, "volume": volumes} {
		slices.Sort(have)
		for _, name := range have {
			if !slices.Contains(want, name) {
				v.leaked = append(v.leaked, what+" "+name)
			}
		}
		for _, name := range want {
			if !slices.Contains(have, name) {
				v.lost = append(v.lost, what+" "+name)
			}
		}
	}
	return v
}

// checkCallbacks looks whether each job that asked for it has been told of, under
// one id.
func (w *world) checkCallbacks(o *order) []string {
	w.Helper()
	var lost []string
	for _, j := range o.jobs {
		if j.callback == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
		err := testenv.Poll(ctx, func(context.Context) error {
			if n := w.receiver.ids(j.callback); n != 1 {
				return fmt.Errorf("%d webhook ids came for job %s", n, j.id)
			}
			return nil
		})
		cancel()
		if err != nil {
			lost = append(lost, err.Error())
		}
	}
	return lost
}
