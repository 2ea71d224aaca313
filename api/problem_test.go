package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/berth-project/berth/internal/fault"
)

// What only took too long is worth another try, and no fault of ours.
func TestProblemOf(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   fault.Code
		retry  bool
	}{
		{fmt.Errorf("read: %w", context.Canceled), http.StatusServiceUnavailable, fault.CodeUnavailable, false},
		{fmt.Errorf("read: %w", context.DeadlineExceeded), http.StatusServiceUnavailable, fault.CodeUnavailable, true},
		{fault.Errorf(fault.CodeUnavailable, context.DeadlineExceeded, "the database does not answer"), http.StatusServiceUnavailable, fault.CodeUnavailable, true},
		{fault.Errorf(fault.CodeNotFound, nil, "no such job"), http.StatusNotFound, fault.CodeNotFound, false},
		{errors.New("anything else"), http.StatusInternalServerError, fault.CodeInternal, false},
	} {
		p := problemOf(c.err)
		if p.Status != c.status || p.Code != c.code || p.retryAfter > 0 != c.retry {
			t.Errorf("%v: %d %s, to be tried again after %s", c.err, p.Status, p.Code, p.retryAfter)
		}
	}
}
