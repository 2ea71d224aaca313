package startstop

import (
	"flag"
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
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil { // they wait most of the time
		panic(err)
	}
	code := testenv.Run(m)
	cleanUp()
	os.Exit(code)
}
