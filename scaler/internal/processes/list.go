package processes

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// ListFile is the name of the list of the replicas, in the folder of [Options]. It
// is in the format of Prometheus' file_sd, by which Prometheus finds what to scrape;
// a dispatcher finds the rest in the labels, which Prometheus drops.
const ListFile = "replicas.json"

// The labels of a replica in the list.
const (
	labelURL   = "__meta_replica_url"
	labelState = "__meta_replica_state"
)

type listed struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// list writes the replicas, those included that end. The caller holds mu.
func (t *Target) list() {
	all := make([]listed, len(t.replicas))
	for i, r := range t.replicas {
		all[i] = listed{
			Targets: []string{t.metricsAddress(r)},
			Labels:  map[string]string{labelURL: "http://" + t.address(r), labelState: string(r.state)},
		}
	}
	slices.SortFunc(all, func(a, b listed) int { return cmp.Compare(a.Targets[0], b.Targets[0]) })
	text, err := json.MarshalIndent(all, "", " ")
	if err == nil {
		err = replaceFile(filepath.Join(t.options.Folder, ListFile), append(text, '\n'))
	}
	if err != nil {
		t.options.Log.Error("the list of the replicas can't be written", "error", err.Error())
	}
}

// replaceFile writes a file so that who reads it sees the old or the new content.
func replaceFile(name string, content []byte) error {
	next := name + ".next"
	if err := os.WriteFile(next, content, 0o644); err != nil {
		return err
	}
	return os.Rename(next, name)
}

// limit has a replica use no more than so many cores, and tells it, as a cgroup
// does. A process that reads its limit elsewhere is held to it all the same.
func (r *replica) limit(cores float64) error {
	if err := replaceFile(r.cpuMax, fmt.Appendf(nil, "%d %d\n", int64(cores*float64(period.Microseconds())), period.Microseconds())); err != nil {
		return fmt.Errorf("telling %s its CPU limit: %w", r.host, err)
	}
	r.quota.set(cores)
	return nil
}
