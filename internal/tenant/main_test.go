package tenant_test

import (
	"os"
	"testing"

	"github.com/berth-project/berth/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }
