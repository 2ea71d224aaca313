package chaos

import (
	"fmt"
	"os"
	"testing"

	"github.com/berth-project/berth/internal/testenv"
)

// binary is a berth that can be told to end itself at a step.
var binary string

func TestMain(m *testing.M) {
	built, cleanUp, err := testenv.ChaosBinary("../..")
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
	binary = built
	code := testenv.Run(m)
	cleanUp()
	os.Exit(code)
}
