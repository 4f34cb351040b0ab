package endpoints

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/fleet"
)

// The labels that tell a dispatcher what the list of targets doesn't.
const (
	labelURL   = "__meta_replica_url"
	labelState = "__meta_replica_state"
)

// ParseFile reads a list of replicas in the format of Prometheus' file_sd, with
// labels for their URL and state as contract/replicas.example.json has them. Other
// labels are left alone.
func ParseFile(text []byte) ([]fleet.Endpoint, error) {
	var entries []struct {
		Labels map[string]string `json:"labels"`
	}
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, fmt.Errorf("not a list in the format of file_sd: %w", err)
	}
	list := make([]fleet.Endpoint, len(entries))
	for i, e := range entries {
		url, state := e.Labels[labelURL], e.Labels[labelState]
		urls, err := ParseURLs([]string{url})
		if err != nil {
			return nil, fmt.Errorf("entry %d: %s: %w", i+1, labelURL, err)
		}
		states := []dispatch.State{dispatch.Ready, dispatch.Starting, dispatch.Terminating}
		at := slices.IndexFunc(states, func(s dispatch.State) bool { return string(s) == state })
		if at < 0 {
			return nil, fmt.Errorf("entry %d: %s is %q; allowed: ready, starting or terminating", i+1, labelState, state)
		}
		list[i] = fleet.Endpoint{URL: urls[0], State: states[at]}
		if slices.ContainsFunc(list[:i], func(other fleet.Endpoint) bool { return other.URL == urls[0] }) {
			return nil, fmt.Errorf("entry %d: %q is there twice", i+1, url)
		}
	}
	return list, nil
}

// FollowFile looks at the file every interval, at once for the first time, and
// reports its replicas at every change until ctx ends. While it isn't there or can't
// be read, the last report stands; before the first there are none.
func FollowFile(ctx context.Context, path string, interval time.Duration, log *slog.Logger, report func([]fleet.Endpoint)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var last []byte
	failing := ""
	for {
		text, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(text, last) {
			var list []fleet.Endpoint
			if list, err = ParseFile(text); err == nil {
				last = text
				report(list)
			}
		}
		switch problem := message(err); {
		case problem == failing:
		case problem == "":
			log.Info("the list of the replicas can be read again", "file", path)
		case last == nil && errors.Is(err, fs.ErrNotExist):
			log.Info("waiting for the list of the replicas", "file", path)
		default:
			log.Warn("can't read the list of the replicas; the last known ones stand", "file", path, "error", problem)
		}
		failing = message(err)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
