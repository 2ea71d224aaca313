package smoke

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/berth-project/berth/internal/client"
)

func runningMySQL(t *testing.T, dev *development) *service {
	t.Helper()
	s := create(t, dev.server, "mysql", "", nil)
	s.awaitRunning(t, dev.server)
	return s
}

// imageStep gives what the create says of its image.
func imageStep(t *testing.T, dev *development, s *service) string {
	t.Helper()
	job, err := dev.Job(t.Context(), s.created.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(job.Steps, func(s client.Step) bool { return s.Name == "image" })
	if i < 0 {
		t.Fatalf("no step is named image: %+v", job.Steps)
	}
	return job.Steps[i].Detail
}

// whoIs gives the server's id and its certificate.
func whoIs(t *testing.T, c client.Connection) (id string, certificate *x509.Certificate) {
	t.Helper()
	if err := openMySQL(t, c).QueryRowContext(t.Context(), "SELECT @@server_uuid").Scan(&id); err != nil {
		t.Fatal(err)
	}
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd = "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)), c.Username, c.Password
	cfg.TLS = &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // it is looked at
		VerifyConnection: func(s tls.ConnectionState) error {
			certificate = s.PeerCertificates[0]
			return nil
		},
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := connector.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	return id, certificate
}

// TestGolden has two instances start from the same golden data: they share nothing that
// is one's own, and one is still itself when its container is made anew without it.
func TestGolden(t *testing.T) {
	t.Parallel()
	dev := startDev(t, "BERTH_RECONCILE_EVERY=1s", "BERTH_RECONCILE_GRACE=2s", "BERTH_PROBE_EVERY=2s")
	one, two := runningMySQL(t, dev), runningMySQL(t, dev)
	for _, s := range []*service{one, two} {
		if step := imageStep(t, dev, s); !strings.HasPrefix(step, "berth/golden:") || step != imageStep(t, dev, one) {
			t.Errorf("the step says %q", step)
		}
	}
	id1, cert1 := whoIs(t, one.conn)
	id2, cert2 := whoIs(t, two.conn)
	if id1 == id2 || slices.Equal(cert1.RawSubjectPublicKeyInfo, cert2.RawSubjectPublicKeyInfo) || one.conn.Password == two.conn.Password {
		t.Error("they share a server id, a key or a password")
	}
	for _, pair := range [][2]*service{{one, two}, {two, one}} {
		refusedByMySQL(t, pair[0].conn, pair[1].conn.Username, pair[1].conn.Password)
	}
	docker(t, "rm", "--force", containerOf(t, one.ID))
	awaitNoticed(t, dev, one)
	awaitState(t, dev, one, "running", mended)
	if id, cert := whoIs(t, one.conn); id != id1 || !slices.Equal(cert.RawSubjectPublicKeyInfo, cert1.RawSubjectPublicKeyInfo) {
		t.Error("made anew, it is another server")
	}
	if image := docker(t, "inspect", "--format", "{{.Config.Image}}", containerOf(t, one.ID)); strings.HasPrefix(image, "berth/golden:") {
		t.Errorf("made anew, it needs %s", image)
	}
	for _, s := range []*service{one, two} {
		removeQuietly(t, dev, s)
	}
}

// TestGoldenFails has an image that golden data cannot be made on.
func TestGoldenFails(t *testing.T) {
	t.Parallel()
	base := "berth/mysql:9.7"
	if _, err := runDocker(t.Context(), "image", "inspect", "mysql:9.7"); err == nil {
		base = "mysql:9.7"
	}
	made := docker(t, "create", "--entrypoint", "touch", base, "/berth")
	t.Cleanup(func() { _, _ = runDocker(t.Context(), "rm", "--force", "--volumes", made) })
	docker(t, "start", "--attach", made)
	image := "berth-test/mysql:" + made[:12]
	docker(t, "commit", made, image)
	docker(t, "rm", "--volumes", made)
	dev := startDev(t, "BERTH_IMAGE_MYSQL="+image)
	t.Cleanup(func() { _, _ = runDocker(t.Context(), "rmi", image) })
	one, two := runningMySQL(t, dev), runningMySQL(t, dev)
	for _, s := range []*service{one, two} {
		if step := imageStep(t, dev, s); !strings.HasPrefix(step, image+", without golden data: ") {
			t.Errorf("the step says %q", step)
		}
		removeQuietly(t, dev, s)
	}
	page, err := dev.Events(t.Context(), client.EventFilter{Types: []string{"golden.failed"}}, 0)
	if err != nil || len(page.Items) != 1 || page.Items[0].InstanceID != one.ID || !strings.Contains(page.Items[0].Message, image) {
		t.Errorf("events say %+v (%v)", page.Items, err)
	}
	if left := docker(t, "ps", "--all", "--quiet", "--filter", "ancestor="+image); left != "" {
		t.Errorf("left is %s", left)
	}
}
