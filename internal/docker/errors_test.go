package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/berth-project/berth/internal/provision"
)

func TestTranslate(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want provision.Code
	}{
		"nothing there":   {fmt.Errorf("error during connect: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), provision.CodeHostUnavailable},
		"reset":           {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, provision.CodeHostUnavailable},
		"hangs":           {context.DeadlineExceeded, provision.CodeHostUnavailable},
		"ends midway":     {fmt.Errorf("read: %w", io.ErrUnexpectedEOF), provision.CodeHostUnavailable},
		"going down":      {fmt.Errorf("%w: shutting down", cerrdefs.ErrUnavailable), provision.CodeHostUnavailable},
		"not found":       {fmt.Errorf("%w: no such container", cerrdefs.ErrNotFound), provision.CodeNotFound},
		"conflict":        {fmt.Errorf("%w: name in use", cerrdefs.ErrConflict), provision.CodeConflict},
		"refused for why": {fmt.Errorf("%w: no space left on device", cerrdefs.ErrInternal), provision.CodeInternal},
	} {
		err := translate("local", "do it", test.err)
		if err.Code != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: got %v (%s), want %s", name, err, err.Code, test.want)
		}
	}
}

// The texts are Docker's own: engine 20.10 twice, engine 28, Docker Desktop.
func TestPortRefusedTexts(t *testing.T) {
	const failed = "driver failed programming external connectivity on endpoint berth-x (0a1b): "
	for text, want := range map[string]bool{
		failed + "Bind for 127.0.0.1:18001 failed: port is already allocated":                                                   true,
		failed + "Error starting userland proxy: listen tcp4 127.0.0.1:18001: bind: address already in use":                     true,
		"failed to set up container networking: " + failed + "failed to bind host port 127.0.0.1:1/tcp: address already in use": true,
		"Ports are not available: exposing port TCP 127.0.0.1:18001 -> 127.0.0.1:0: listen tcp: bind: in use":                   true,
		failed + "listen tcp4 10.9.9.9:18001: bind: cannot assign requested address":                                            false,
		"OCI runtime create failed: exec: \"x\": executable file not found in $PATH":                                            false,
	} {
		err := translate("local", "start", fmt.Errorf("%w: %s", cerrdefs.ErrInternal, text))
		if got := err.Code == provision.CodePortRefused; got != want {
			t.Errorf("%q: %s", text, err.Code)
		}
	}
}

// An error that is given another code must not match its old one.
func TestCause(t *testing.T) {
	old := translate("local", "create", fmt.Errorf("%w: no such image", cerrdefs.ErrNotFound))
	err := provision.Errorf(provision.CodeImageUnavailable, cause(old), "no image")
	if errors.Is(err, provision.ErrNotFound) || !errors.Is(err, cerrdefs.ErrNotFound) {
		t.Errorf("%v", err)
	}
}
