package smoke

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// commandLimit is how long one call of a command line tool may take.
const commandLimit = time.Minute

// runDocker gives what the docker command wrote, on both streams.
func runDocker(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	if host := os.Getenv("BERTH_DOCKER_HOST"); host != "" {
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+host)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

// docker runs a docker command, and fails the test where it fails.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	out, err := runDocker(ctx, args...)
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// containersWith and volumesWith give the names of all that carry the label.
func containersWith(t *testing.T, label string) []string {
	t.Helper()
	return strings.Fields(docker(t, "ps", "--all", "--filter", "label="+label, "--format", "{{.Names}}"))
}

func volumesWith(t *testing.T, label string) []string {
	t.Helper()
	return strings.Fields(docker(t, "volume", "ls", "--filter", "label="+label, "--format", "{{.Name}}"))
}

// sweepAfter removes, when the test is over, whatever still carries the label that it
// has by then: a test that is fine leaves nothing. It is to be called before the
// processes are started that make such things, so that they have ended before it.
func sweepAfter(t *testing.T, label *string) {
	t.Helper()
	t.Cleanup(func() {
		if *label == "" {
			return // nothing can have been made yet
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*commandLimit)
		defer cancel()
		for _, kind := range [][2][]string{
			{{"ps", "--all", "--quiet"}, {"rm", "--force", "--volumes"}},
			{{"volume", "ls", "--quiet"}, {"volume", "rm", "--force"}},
		} {
			out, err := runDocker(ctx, append(kind[0], "--filter", "label="+*label)...)
			if err != nil {
				t.Errorf("clean up: docker %s: %v\n%s", strings.Join(kind[0], " "), err, out)
				continue
			}
			if left := strings.Fields(out); len(left) > 0 {
				if out, err := runDocker(ctx, append(kind[1], left...)...); err != nil {
					t.Errorf("clean up: docker %s: %v\n%s", strings.Join(kind[1], " "), err, out)
				}
			}
		}
	})
}

// containerOf gives the name of the instance's one container.
func containerOf(t *testing.T, instance string) string {
	t.Helper()
	found := containersWith(t, "berth.instance="+instance)
	if len(found) != 1 {
		t.Fatalf("%s has %d containers, want one: %v", instance, len(found), found)
	}
	return found[0]
}

// containerIDOf gives its id, which one that is made anew does not have.
func containerIDOf(t *testing.T, instance string) string {
	t.Helper()
	return docker(t, "inspect", "--format", "{{.Id}}", containerOf(t, instance))
}
