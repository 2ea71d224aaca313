package engine

import (
	"context"
	"errors"
	"net"
	"syscall"

	"github.com/berth-project/berth/internal/fault"
)

// notUsable is the answer of a probe that did not succeed. It says why, where the server's
// own code tells.
func notUsable(title, what string, err error) error {
	message := title + " cannot be used: " + what + " failed"
	if why := reason(err); why != "" {
		message += ": " + why
	}
	return fault.Errorf(fault.CodeProbeFailed, err, "%s", message)
}

// reason tells the faults apart that a user can do something about; "" where the error is
// none of them. Its words hold no numbers that change, so that the same fault has the same.
func reason(err error) string {
	for _, of := range []func(error) string{mysqlReason, redisReason, networkReason} {
		if why := of(err); why != "" {
			return why
		}
	}
	return ""
}

// networkReason is for a server that gives no answer at all.
func networkReason(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing accepts connections at its address"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "its address cannot be reached"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "it did not answer in time"
	}
	return ""
}
