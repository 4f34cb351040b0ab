package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

func TestRun(t *testing.T) {
	var good atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method == http.MethodPost && r.URL.Path == "/query" && string(body) == "picture" && good.Add(1) <= 90 {
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	picture := filepath.Join(t.TempDir(), "a.jpg")
	if err := os.WriteFile(picture, []byte("picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := run([]string{"--target", server.URL, "--picture", picture, "--rate", "200", "--stretch", "500ms"}, &b); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(b.String()); got != `{"requests":100,"answered":90}` {
		t.Errorf("got %s, want 90 of 100", got)
	}
	if err := run([]string{"--rate", "1"}, &b); err == nil || !strings.Contains(err.Error(), "--picture") {
		t.Errorf("without flags: got %v", err)
	}
}
