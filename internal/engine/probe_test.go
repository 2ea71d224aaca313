package engine

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-project/berth/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A probe ends with its context, however the other side behaves.
func TestProbeEndsInTime(t *testing.T) {
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()

	for _, e := range Catalog(Config{}) {
		for name, address := range map[string]net.Addr{"silent": silent.Addr(), "closed": closed.Addr()} {
			t.Run(e.Describe().Name+" "+name, func(t *testing.T) {
				inst := newInstance(t, e, "", "", nil)
				inst.Status.Port = address.(*net.TCPAddr).Port
				cred := e.NewCredentials(inst, &fakeGenerator{})
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				began := time.Now()
				err := e.Probe(ctx, inst, cred)
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("it took %s", took)
				}
				if fault.CodeOf(err) != fault.CodeProbeFailed || strings.Contains(err.Error(), cred.Password.Reveal()) {
					t.Errorf("the error is %v", err)
				}
			})
		}
	}
}
