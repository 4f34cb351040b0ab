package endpoints

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/fleet"
)

// The list is what the scaler's tests read too.
func TestParseFileReadsTheContractsExample(t *testing.T) {
	text, err := os.ReadFile("../../../contract/replicas.example.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseFile(text)
	want := []fleet.Endpoint{
		{URL: "http://127.8.0.1:6001", State: dispatch.Ready},
		{URL: "http://127.8.0.2:6001", State: dispatch.Starting},
		{URL: "http://127.8.0.3:6001", State: dispatch.Terminating},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func entry(url, state string) string {
	return `{"targets": ["h:1"], "labels": {"zone": "a", "__meta_replica_url": "` + url + `", "__meta_replica_state": "` + state + `"}}`
}

func TestParseFileRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "not a list in the format of file_sd: ",
		`{"targets": []}`:   "not a list in the format of file_sd: ",
		`[{"targets": []}]`: `entry 1: __meta_replica_url: "" is not a base URL`,
		"[" + entry("http://h:1", "ready") + "," + entry("h:2", "ready") + "]":         `entry 2: __meta_replica_url: "h:2" is not a base URL`,
		"[" + entry("http://h:1", "well") + "]":                                        `entry 1: __meta_replica_state is "well"; allowed: ready, starting or terminating`,
		"[" + entry("http://h:1", "ready") + "," + entry("http://h:1/", "ready") + "]": `entry 2: "http://h:1/" is there twice`,
	} {
		if list, err := ParseFile([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %s", text, list, err, want)
		}
	}
	if list, err := ParseFile([]byte("[]")); err != nil || len(list) != 0 {
		t.Errorf("none: %v, %v", list, err)
	}
}

func TestFollowFileReportsChangesAndKeepsWhatItKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "replicas.json")
		var log bytes.Buffer
		var reports []string
		ctx, cancel := context.WithCancel(t.Context())
		go FollowFile(ctx, path, 100*time.Millisecond, slog.New(slog.NewTextHandler(&log, nil)), func(list []fleet.Endpoint) {
			var parts []string
			for _, e := range list {
				parts = append(parts, strings.TrimPrefix(e.URL, "http://")+" "+string(e.State))
			}
			reports = append(reports, strings.Join(parts, ", "))
		})
		synctest.Wait()
		for _, step := range []struct {
			text    string // "-" removes the file
			reports string // all so far
			logs    int
		}{
			{"-", "", 1},
			{"-", "", 1},
			{"[" + entry("http://h:1", "starting") + "]", "h:1 starting", 2},
			{"[" + entry("http://h:1", "starting") + "]", "h:1 starting", 2},
			{"[" + entry("http://h:1", "ready") + "]", "h:1 starting; h:1 ready", 2},
			{"[", "h:1 starting; h:1 ready", 3},
			{"-", "h:1 starting; h:1 ready", 4},
			{"[" + entry("http://h:1", "ready") + "]", "h:1 starting; h:1 ready", 5},
			{"[]", "h:1 starting; h:1 ready; ", 5},
		} {
			if step.text == "-" {
				_ = os.Remove(path)
			} else if err := os.WriteFile(path, []byte(step.text), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if got := strings.Join(reports, "; "); got != step.reports || strings.Count(log.String(), "\n") != step.logs {
				t.Errorf("after %q: reported %q, want %q; %d lines logged, want %d:\n%s", step.text, got, step.reports, strings.Count(log.String(), "\n"), step.logs, log.String())
			}
		}
		cancel()
		synctest.Wait()
	})
}
