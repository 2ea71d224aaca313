package smoke

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// pageLimit is how long a page may take until it shows what it should.
const pageLimit = 30 * time.Second

// browser is a person at a screen: it answers login dialogs, lets pages speak to their
// own server only, and remembers what they complained of.
type browser struct {
	ctx      context.Context //nolint:containedctx // chromedp's handle of the tab
	host     string          // of the one server that pages may speak to
	password string          // for login dialogs; "": they are dismissed

	mu         sync.Mutex
	asked      int      // login dialogs
	strangers  []string // other hosts that a page wanted something of
	complaints []string
}

// openBrowser starts a Chromium with nothing in it. It ends with the test.
func openBrowser(t *testing.T, srv *server, password string) *browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless-shell"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Fatal("no Chromium is here; run scripts/chromium.sh")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(program), chromedp.WindowSize(1280, 900),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.WSURLReadTimeout(pageLimit),
	)
	allocator, endAllocator := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(endAllocator)
	ctx, endTab := chromedp.NewContext(allocator)
	t.Cleanup(endTab)
	b := &browser{ctx: ctx, host: strings.TrimPrefix(srv.url, "http://"), password: password}
	// The first call makes the browser, which must outlive the limit of a page.
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	if _, err := chromedp.Call(ctx, fetch.Enable, fetch.EnableParams{HandleAuthRequests: new(true)}); err != nil {
		t.Fatal(err)
	}
	return b
}

// listen must not wait: what it has to say to the browser, it says from elsewhere.
func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *fetch.EventRequestPaused:
		if u, err := url.Parse(e.Request.URL); err == nil && u.Host != b.host && u.Scheme != "data" {
			if !slices.Contains(b.strangers, u.Host) {
				b.strangers = append(b.strangers, u.Host)
			}
			go func() {
				_, _ = chromedp.Call(b.ctx, fetch.FailRequest, fetch.FailRequestParams{RequestID: e.RequestID, ErrorReason: network.ErrorReasonAddressUnreachable})
			}()
			return
		}
		go func() {
			_, _ = chromedp.Call(b.ctx, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: e.RequestID})
		}()
	case *fetch.EventAuthRequired:
		b.asked++
		answer := &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseCancelAuth}
		if b.password != "" && b.asked == 1 { // asked again, the password was wrong
			answer = &fetch.AuthChallengeResponse{
				Response: fetch.AuthChallengeResponseResponseProvideCredentials, Username: "operator", Password: b.password,
			}
		}
		go func() {
			_, _ = chromedp.Call(b.ctx, fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{RequestID: e.RequestID, AuthChallengeResponse: answer})
		}()
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		if e.Entry.Source == log.EntrySourceSecurity || strings.Contains(e.Entry.Text, "Content Security Policy") {
			b.complaints = append(b.complaints, e.Entry.Text)
		}
	}
}

// read opens a page, waits until the script gives true, takes a picture of it, and
// gives the page's text.
func (b *browser) read(t *testing.T, target, until, picture string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, pageLimit)
	defer cancel()
	err := chromedp.Do(ctx, chromedp.Navigate(target))
	if err == nil {
		_, err = chromedp.Run(ctx, chromedp.Poll[bool](until, chromedp.WithPollingTimeout(pageLimit-5*time.Second)))
	}
	// What it shows is of interest above all when it is not what was expected.
	look, cancelLook := context.WithTimeout(b.ctx, pageLimit)
	defer cancelLook()
	text, e := chromedp.Run(look, chromedp.Evaluate[string]("document.body.innerText"))
	if e != nil {
		t.Fatalf("look at %s: %v (%v)", target, e, err)
	}
	png, e := chromedp.Run(look, chromedp.CaptureScreenshot())
	if e != nil {
		t.Fatalf("take a picture of %s: %v", target, e)
	}
	if e := os.WriteFile(filepath.Join(t.ArtifactDir(), picture+".png"), png, 0o600); e != nil {
		t.Fatal(e)
	}
	if err != nil {
		t.Fatalf("%s does not come to show what it should: %v\n%s", target, err, text)
	}
	return text
}

// checkQuiet looks whether the pages stayed on their server and had no errors.
func (b *browser) checkQuiet(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, host := range b.strangers {
		t.Errorf("a page asked %s for something", host)
	}
	for _, c := range b.complaints {
		t.Errorf("a page had an error: %s", c)
	}
}

// TestPages looks at Berth's pages as people do. `go test -artifacts` keeps what it saw.
func TestPages(t *testing.T) {
	t.Parallel()
	dev := startDev(t)
	hooks := newReceiver(t)
	s := create(t, dev.server, "redis", hooks.url+"/redis/created", nil) // so that each queue has had a task
	s.awaitRunning(t, dev.server)
	hooks.expect(t, "/redis/created", s.secret, "job.succeeded", s.ID, s.created.ID)
	s.remove(t, dev.server, hooks)

	t.Run("queues", func(t *testing.T) {
		b := openBrowser(t, dev.server, dev.key)
		all := `["creates", "upkeep", "webhooks"].every(q => document.body.innerText.includes(q))`
		text := b.read(t, dev.url+"/queues", all, "queues")
		for _, word := range []string{"error", "NaN", "undefined"} {
			if strings.Contains(text, word) {
				t.Errorf("the page shows %q:\n%s", word, text)
			}
		}
		b.checkQuiet(t)
	})
	t.Run("what Redis says", func(t *testing.T) {
		b := openBrowser(t, dev.server, dev.key)
		for _, page := range []string{"/queues/redis", "/queues/queues/creates", "/queues/servers"} {
			text := b.read(t, dev.url+page, `document.body.innerText.length > 200`, strings.ReplaceAll(page[1:], "/", " "))
			for _, word := range []string{"NaN", "undefined", "Invalid"} {
				if strings.Contains(text, word) {
					t.Errorf("%s shows %s:\n%s", page, word, text)
				}
			}
		}
		b.checkQuiet(t)
	})
	t.Run("home", func(t *testing.T) {
		b := openBrowser(t, dev.server, "")
		text := b.read(t, dev.url+"/", `getComputedStyle(document.querySelector("ul")).display === "grid"`, "home")
		for _, word := range []string{"API reference", "Queues", "admin.key"} {
			if !strings.Contains(text, word) {
				t.Errorf("no %q in\n%s", word, text)
			}
		}
		b.mu.Lock()
		asked := b.asked
		b.mu.Unlock()
		if asked > 0 {
			t.Errorf("asked for a login %d times", asked)
		}
		b.checkQuiet(t)
	})
	t.Run("queues, with a wrong password", func(t *testing.T) {
		b := openBrowser(t, dev.server, "not the admin key")
		text := b.read(t, dev.url+"/queues", `document.body.innerText.length > 0`, "wrong password")
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.asked < 2 || strings.Contains(text, "creates") {
			t.Errorf("asked %d times, and then it shows:\n%s", b.asked, text)
		}
	})
	t.Run("docs", func(t *testing.T) {
		b := openBrowser(t, dev.server, "")
		text := b.read(t, dev.url+"/docs/", `document.querySelectorAll(".opblock").length >= 9`, "docs")
		for _, path := range []string{"/api/v1/engines", "/api/v1/storage/{engine}/instances", "/api/v1/jobs/{id}"} {
			// The page breaks long paths with invisible spaces.
			if !strings.Contains(strings.ReplaceAll(text, "\u200b", ""), path) {
				t.Errorf("the page does not show %s", path)
			}
		}
		b.checkQuiet(t)
	})
}
