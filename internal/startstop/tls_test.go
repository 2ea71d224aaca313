package startstop

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/testenv"
)

// secured is a client that trusts the authority and keeps no connection.
func secured(a *testenv.Authority) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Roots(), MinVersion: tls.VersionTLS12}, DisableKeepAlives: true, ForceAttemptHTTP2: true}}
}

// health asks by TLS, and returns the number of the certificate.
func (w *world) health(ctx context.Context, c *http.Client) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+w.addr+"/healthz", nil)
	if err != nil {
		return 0, err
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK || res.ProtoMajor != 2 || res.Header.Get("Strict-Transport-Security") == "" {
		return 0, fmt.Errorf("%s %s %v", res.Proto, res.Status, res.Header)
	}
	return res.TLS.PeerCertificates[0].SerialNumber.Int64(), nil
}

// TestTLS: the API is served with the certificate of the files, and with what replaces it; the
// client verbs verify it; a pair that does not fit is not taken, at the start or later.
func TestTLS(t *testing.T) {
	t.Parallel()
	w, a := newDev(t), testenv.NewAuthority(t)
	a.Issue(1)
	files := []string{"BERTH_TLS_CERT=" + a.CertFile, "BERTH_TLS_KEY=" + a.KeyFile}
	if said := w.refused("dev", files[0], "BERTH_TLS_KEY="+a.CAFile); !strings.Contains(said, "BERTH_TLS_KEY") || !strings.Contains(said, a.CAFile) {
		t.Errorf("another key: %s", said)
	}
	p := w.start("dev", files...)
	client := secured(a)
	shows := func(serial int64) {
		t.Helper()
		testenv.Eventually(t, fmt.Sprintf("certificate %d is shown", serial), startLimit, func(ctx context.Context) error {
			if got, err := w.health(ctx, client); err != nil || got != serial {
				return fmt.Errorf("%d, %w", got, err)
			}
			return nil
		})
	}
	shows(1)
	for name, want := range map[string]bool{"BERTH_CA_FILE=" + a.CAFile: true, "BERTH_CA_FILE=": false} {
		cmd := exec.CommandContext(t.Context(), binary, "engines", "--url", "https://"+w.addr)
		cmd.Env = append(testenv.CleanEnvironment(), "BERTH_DATA_DIR="+w.folder, "BERTH_CONFIG="+w.folder+"/contexts.json", name)
		if out, err := cmd.CombinedOutput(); (err == nil) != want {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	a.Issue(2)
	shows(2)
	a.Put(a.KeyFile, []byte("no key"))
	logs(t, p, "the TLS certificate was not reloaded")
	shows(2)
	if lines := p.Logged("the TLS certificate was not reloaded; the old one stays in use"); len(lines) != 1 || lines[0]["level"] != "ERROR" {
		t.Errorf("%v", lines)
	}
	a.Issue(3)
	shows(3)
}
