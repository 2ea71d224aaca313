package config

import (
	"strings"
	"testing"
)

// TestTLSFiles: there are both or none.
func TestTLSFiles(t *testing.T) {
	both := []string{"BERTH_TLS_CERT=/c.pem", "BERTH_TLS_KEY=/k.pem"}
	c, err := Load(API, append(both, production...))
	if err != nil || c.TLSCert != "/c.pem" || c.TLSKey != "/k.pem" {
		t.Errorf("%+v, %v", c, err)
	}
	for i, missing := range []string{"BERTH_TLS_KEY: must be set", "BERTH_TLS_CERT: must be set"} {
		if _, err := Load(API, append(both[i:i+1:i+1], production...)); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("%s alone: %v", both[i], err)
		}
	}
}
