package sender

import (
	"bytes"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/secret"
	"github.com/berth-project/berth/internal/webhook"
)

// A receiver whose certificate is a company's own is trusted when its authority is named,
// and not before.
func TestRoots(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that is refused
	server.StartTLS()
	t.Cleanup(server.Close)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	file := func(text []byte) string {
		path := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	s := newSender(t, true, timer)
	message := webhook.Message{URL: server.URL, ID: "x", Secrets: []secret.Secret{whsec}}
	if _, err := s.Send(t.Context(), message); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	roots, err := Roots(file(append([]byte("our own:\n"), append(cert, cert...)...)))
	if err != nil {
		t.Fatal(err)
	}
	s.Trust(roots)
	if answer, err := s.Send(t.Context(), message); err != nil || answer.Status != 204 {
		t.Errorf("%+v, %v", answer, err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	for want, text := range map[string][]byte{
		"is empty": []byte(" \n"), "holds no certificate": []byte("nonsense"), "in DER": server.Certificate().Raw, "holds a PRIVATE KEY": append(bytes.Clone(cert), key...),
		"cannot be read": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
	} {
		if _, err := Roots(file(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if _, err := Roots(filepath.Join(t.TempDir(), "none.pem")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	if _, err := Roots(t.TempDir()); err == nil {
		t.Error("a folder")
	}
}
