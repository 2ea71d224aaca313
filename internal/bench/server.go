package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/berth-project/berth/internal/client"
	"github.com/berth-project/berth/internal/secret"
)

// server is a berth process and a client of it.
type server struct {
	cmd    *exec.Cmd
	client *client.Client
}

func command(ctx context.Context, binary string, settings []string, verb string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, verb) //nolint:gosec // the binary is what the caller wants measured
	cmd.Env = append(os.Environ(), settings...)
	cmd.Stderr = os.Stderr
	return cmd
}

func runOnce(ctx context.Context, binary string, settings []string, verb string) error {
	if err := command(ctx, binary, settings, verb).Run(); err != nil {
		return fmt.Errorf("berth %s: %w", verb, err)
	}
	return nil
}

// startServer starts a berth process on a free port and waits until it is ready.
func startServer(ctx context.Context, binary string, settings []string, verb string) (*server, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	key := secret.APIKey()
	cmd := command(ctx, binary, append([]string{"BERTH_HTTP_ADDR=" + address, "BERTH_ADMIN_KEY=" + key, "BERTH_MASTER_KEY=" + secret.MasterKey()}, settings...), verb)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd}
	if s.client, err = client.New(client.Config{URL: "http://" + address, APIKey: key}); err != nil {
		s.stop()
		return nil, err
	}
	for begun := time.Now(); ; {
		if ready(ctx, address) {
			return s, nil
		}
		if time.Since(begun) > 30*time.Second || ctx.Err() != nil {
			s.stop()
			return nil, fmt.Errorf("berth %s is not ready after %s", verb, time.Since(begun).Round(time.Second))
		}
		<-time.After(20 * time.Millisecond)
	}
}

func ready(ctx context.Context, address string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer answer.Body.Close() //nolint:errcheck // nothing depends on it
	return answer.StatusCode == http.StatusOK
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}
