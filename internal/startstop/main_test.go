package startstop

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-project/berth/internal/testenv"
)

// binary is the program under test.
var binary string

func TestMain(m *testing.M) {
	repository, _ := filepath.Abs("../..")
	found, cleanUp, err := testenv.Binary(repository)
	if err != nil {
		fmt.Fprintln(os.Stderr, "startstop:", err)
		os.Exit(1)
	}
	binary = found
	code := testenv.Run(m)
	cleanUp()
	os.Exit(code)
}
