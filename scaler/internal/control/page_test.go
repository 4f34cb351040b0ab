package control

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// chromium runs a real browser without a window on url, and returns what it prints.
func chromium(t *testing.T, url string, flags ...string) string {
	t.Helper()
	binary, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("chromium is not on PATH; `make test` installs it (Debian: apt-get install chromium): %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=" + t.TempDir(),
		"--enable-logging=stderr", "--virtual-time-budget=7000", "--window-size=1280,1500",
	}, append(flags, url)...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, stderr.String())
	}
	if strings.Contains(stderr.String(), "CONSOLE") {
		t.Errorf("the browser's console:\n%s", stderr.String())
	}
	return stdout.String()
}

// The page as people see it: a real browser draws what a real loop has decided.
func TestThePageInABrowser(t *testing.T) {
	var loop *Loop
	synctest.Test(t, func(t *testing.T) {
		w := eventful(t)
		w.end()
		loop = w.loop
	})
	handler := loop.Handler()
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.String())
		mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()

	dom := chromium(t, server.URL+"/", "--dump-dom")
	for _, want := range []string{
		"deployment headroom/model-server", ">leader<", // the header
		"<b>Replicas</b>", "<b>Arrivals, requests/s</b>", "<b>Latency at the 99th percentile, ms</b>", "<b>Requests inside</b>",
		`<path class="blue `, `<path class="area" d="M`, `class="mark"`, `class="shade"`,
		"scale in wait", "hold untrusted", ">scaled<", "somebody else changed the scale",
		"&lt;b&gt;9&lt;/b&gt;", // what people write stays text
		"as of ",
	} {
		if !strings.Contains(dom, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for _, bad := range []string{"NaN", "undefined", "Infinity", "[object"} {
		if _, body, _ := strings.Cut(dom, "<header>"); strings.Contains(strings.Split(body, "<script>")[0], bad) {
			t.Errorf("the page has %q in it", bad)
		}
	}
	if t.Failed() {
		t.Logf("%s", dom)
	}
	mu.Lock()
	defer mu.Unlock()
	var again int
	for _, url := range asked {
		if strings.HasPrefix(url, "/debug/decisions?after=") {
			again++
		}
	}
	if again < 2 || asked[1] != "/debug/decisions?limit=1000" {
		t.Errorf("asked for %q, want everything once and then what is new, every 2 s", asked)
	}
}
