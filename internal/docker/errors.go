package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errhttp"
	"github.com/docker/docker/client"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// translate turns an error of the Docker SDK into one of the domain. It is the
// only place that does.
func translate(host, doing string, err error) *fault.Error {
	var undialed *undialedError
	switch {
	case errors.As(err, &undialed):
		return undialed.why
	case errors.Is(err, fs.ErrPermission):
		return fault.Errorf(fault.CodeHostUnavailable, err, "host %s: %s (%s)", host, notPermitted(err), doing)
	case unanswered(err):
		return fault.Errorf(fault.CodeHostUnavailable, err,
			"host %s: the Docker engine does not answer (%s); check that it is running and reachable", host, doing)
	case portRefused(err):
		return fault.Errorf(fault.CodePortRefused, whichPort(err), "host %s refused to publish the port", host)
	case cerrdefs.IsNotFound(err):
		return fault.Errorf(fault.CodeNotFound, err, "host %s: not found (%s)", host, doing)
	case cerrdefs.IsConflict(err):
		return fault.Errorf(fault.CodeConflict, err, "host %s: conflict with an existing object or another operation (%s)", host, doing)
	case refused(err):
		return fault.Errorf(fault.CodeHostRefused, err, "host %s: the Docker engine refuses to %s: %s", host, doing, words(err))
	default:
		return fault.Errorf(fault.CodeInternal, err, "host %s: the Docker engine could not %s: %s", host, doing, words(err))
	}
}

// undialedError is that of a dialer that has said why a machine is not reached. The SDK takes errors of the network,
// and texts that look like them, for those of an engine, and drops what they say: so nothing of this one is seen
// before it is translated.
type undialedError struct{ why *fault.Error }

func (*undialedError) Error() string { return "the machine of the engine is not reached" }

// unseen hides what a dialer says from the SDK, unless nobody waits for it any more.
func unseen(ctx context.Context, err error) error {
	var why *fault.Error
	if !errors.As(err, &why) || ctx.Err() != nil {
		return err
	}
	return &undialedError{why}
}

// notPermitted says which socket this process may not open, and who may.
func notPermitted(err error) string {
	var dial *net.OpError
	if !errors.As(err, &dial) || dial.Addr == nil {
		return "permission denied: " + words(err)
	}
	if dial.Net != "unix" {
		return fmt.Sprintf("permission denied to connect to %s: check the firewall of this machine", dial.Addr)
	}
	return fmt.Sprintf("permission denied at the Docker socket %s: run Berth as a member of the group that owns it "+
		"(usermod -aG docker USER, then start Berth in a new login), or as root", dial.Addr)
}

// refused reports whether the engine has understood what was asked, and will not do it:
// it would not the next time either. Some refusals come as internal errors.
func refused(err error) bool {
	switch status := statusOf(err); status {
	case http.StatusNotImplemented:
		return true
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	case http.StatusInternalServerError:
		// The second is Go's, of an answer that was cut off.
		return strings.HasPrefix(words(err), "invalid ") && !strings.HasPrefix(words(err), "invalid character ")
	default:
		return status >= http.StatusBadRequest && status < http.StatusInternalServerError
	}
}

// statusOf gives the status that the engine answered with, 500 where it is not known. The
// SDK hides those that it has no word for, but lets them be compared.
func statusOf(err error) int {
	for status := http.StatusBadRequest; status < http.StatusInternalServerError; status++ {
		if errors.Is(err, errhttp.ToNative(status)) {
			return status
		}
	}
	return errhttp.ToHTTP(err)
}

// words gives what the engine said: people who see only the message need to know of
// a full disk. It knows no secrets, since no spec holds one.
func words(err error) string {
	return strings.TrimPrefix(err.Error(), "Error response from daemon: ")
}

// cause gives what a translated error was made from. An error that is given another
// code keeps only that: with the old code in its chain errors.Is would match both.
func cause(err error) error {
	var e *fault.Error
	if errors.As(err, &e) && e.Err != nil {
		return e.Err
	}
	return err
}

// unanswered reports whether the engine gave no answer: it is not there, it hangs,
// it went away in the middle of one, or it is going down.
func unanswered(err error) bool {
	var network net.Error
	return client.IsErrConnectionFailed(err) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.As(err, &network) ||
		cerrdefs.IsUnavailable(err)
}

// upgradeRefused gives the error of a connection that the engine would not hand over as
// that of another call: the SDK has put its status into words only.
func upgradeRefused(err error) error {
	if err == nil {
		return nil
	}
	_, status, found := strings.Cut(err.Error(), "unable to upgrade to tcp, received ")
	code, bad := strconv.Atoi(status)
	if !found || bad != nil {
		return err
	}
	if native := errhttp.ToNative(code); native != nil {
		return fmt.Errorf("%w (%w)", err, native)
	}
	return err
}

// portRefused reports whether a start failed because of a host port. Docker says so
// in words only (an internal error): the first text when one of its own containers
// has the port, the second when another process has it, the third on Docker Desktop.
func portRefused(err error) bool {
	text := err.Error()
	for _, words := range []string{"port is already allocated", "address already in use", "Ports are not available"} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// boundAddress is the address that an engine could not listen at, which it names first.
var boundAddress = regexp.MustCompile(`(?:\d+\.\d+\.\d+\.\d+|\]):(\d{1,5})\b`)

// whichPort adds which port was refused, where the engine says that.
func whichPort(err error) error {
	found := boundAddress.FindStringSubmatch(err.Error())
	if found == nil {
		return err
	}
	port, parsed := strconv.Atoi(found[1])
	if parsed != nil {
		return err
	}
	return &host.RefusedPort{Port: port, Err: err}
}
