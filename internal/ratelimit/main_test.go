package ratelimit_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/berth-project/berth/internal/testenv"
)

func TestMain(m *testing.M) {
	code := testenv.Run(m)
	if err := goleak.Find(); code == 0 && err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}
