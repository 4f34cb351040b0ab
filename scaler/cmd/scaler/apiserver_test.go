package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// apiServer is as much of Kubernetes' REST API as the scaler uses, with a
// Deployment whose pods are ready at once.
type apiServer struct {
	mu          sync.Mutex
	down        bool
	spec        int
	version     int
	writes      []int
	annotations map[string]string
	lease       map[string]any
	state       map[string]any // the ConfigMap's data
	events      []string
	strange     []string // requests that the scaler has no right to
	pods        []map[string]any
	watchers    map[chan map[string]any]bool
}

func newAPIServer(spec int) *apiServer {
	a := &apiServer{version: 1, watchers: map[chan map[string]any]bool{}}
	a.scale(spec)
	return a
}

// scale changes the count and lets pods come and go.
func (a *apiServer) scale(to int) {
	a.version++
	a.spec = to
	tell := func(kind string, pod map[string]any) {
		for w := range a.watchers {
			w <- map[string]any{"type": kind, "object": pod}
		}
	}
	for len(a.pods) < to {
		name := fmt.Sprintf("pod-%d", a.version*100+len(a.pods))
		now := time.Now().UTC().Format(time.RFC3339)
		pod := map[string]any{
			"kind": "Pod", "apiVersion": "v1",
			"metadata": map[string]any{"name": name, "namespace": "headroom", "uid": name, "creationTimestamp": now, "resourceVersion": strconv.Itoa(a.version)},
			"status":   map[string]any{"phase": "Running", "conditions": []any{map[string]any{"type": "Ready", "status": "True", "lastTransitionTime": now}}},
		}
		a.pods = append(a.pods, pod)
		tell("ADDED", pod)
	}
	for len(a.pods) > to {
		last := len(a.pods) - 1
		tell("DELETED", a.pods[last])
		a.pods = a.pods[:last]
	}
}

func answer(w http.ResponseWriter, status int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(object)
}

func refuse(w http.ResponseWriter, status int, reason string) {
	answer(w, status, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status, "message": reason})
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/api/v1/namespaces/headroom/pods" && r.URL.Query().Get("watch") != "" {
		a.watch(w, r)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	body := map[string]any{}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil && err != io.EOF {
		refuse(w, http.StatusBadRequest, "BadRequest")
		return
	}
	const deployment = "/apis/apps/v1/namespaces/headroom/deployments/model-server"
	const leases = "/apis/coordination.k8s.io/v1/namespaces/headroom/leases"
	const configMaps = "/api/v1/namespaces/headroom/configmaps"
	meta := map[string]any{"name": "model-server", "namespace": "headroom", "uid": "the-target", "resourceVersion": strconv.Itoa(a.version), "annotations": a.annotations}
	scale := func() map[string]any {
		return map[string]any{
			"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta,
			"spec": map[string]any{"replicas": a.spec}, "status": map[string]any{"selector": "app=model-server"},
		}
	}
	configMap := func() map[string]any {
		return map[string]any{"kind": "ConfigMap", "apiVersion": "v1", "metadata": map[string]any{"name": "headroom-scaler-state"}, "data": a.state}
	}
	switch r.Method + " " + r.URL.Path {
	case "GET " + deployment:
		answer(w, http.StatusOK, map[string]any{"kind": "Deployment", "apiVersion": "apps/v1", "metadata": meta, "status": map[string]any{"readyReplicas": a.spec}})
	case "GET " + deployment + "/scale":
		answer(w, http.StatusOK, scale())
	case "PUT " + deployment + "/scale":
		if body["metadata"].(map[string]any)["resourceVersion"] != strconv.Itoa(a.version) {
			refuse(w, http.StatusConflict, "Conflict")
			return
		}
		a.scale(int(body["spec"].(map[string]any)["replicas"].(float64)))
		a.writes = append(a.writes, a.spec)
		answer(w, http.StatusOK, scale())
	case "GET /api/v1/namespaces/headroom/pods":
		answer(w, http.StatusOK, map[string]any{"kind": "PodList", "apiVersion": "v1", "metadata": map[string]any{"resourceVersion": strconv.Itoa(a.version)}, "items": a.pods})
	case "GET " + configMaps + "/headroom-scaler-state", "PATCH " + configMaps + "/headroom-scaler-state":
		if a.state == nil {
			refuse(w, http.StatusNotFound, "NotFound")
			return
		}
		if data, patched := body["data"].(map[string]any); patched {
			maps.Copy(a.state, data)
		}
		answer(w, http.StatusOK, configMap())
	case "POST " + configMaps:
		a.state, _ = body["data"].(map[string]any)
		answer(w, http.StatusCreated, configMap())
	case "GET " + leases + "/headroom-scaler":
		if a.lease == nil {
			refuse(w, http.StatusNotFound, "NotFound")
			return
		}
		answer(w, http.StatusOK, a.lease)
	case "POST " + leases, "PUT " + leases + "/headroom-scaler":
		a.lease = body
		answer(w, http.StatusOK, body)
	case "POST /api/v1/namespaces/headroom/events":
		a.events = append(a.events, fmt.Sprint(body["reason"], ": ", body["message"]))
		answer(w, http.StatusCreated, body)
	default:
		if r.Method == http.MethodPatch && strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/headroom/events/") { // the same again
			answer(w, http.StatusOK, body)
			return
		}
		a.strange = append(a.strange, r.Method+" "+r.URL.Path)
		refuse(w, http.StatusForbidden, "Forbidden")
	}
}

func (a *apiServer) watch(w http.ResponseWriter, r *http.Request) {
	news := make(chan map[string]any, 1000)
	a.locked(func() { a.watchers[news] = true })
	defer a.locked(func() { delete(a.watchers, news) })
	w.Header().Set("Content-Type", "application/json")
	flush := http.NewResponseController(w)
	_ = flush.Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case event := <-news:
			_ = json.NewEncoder(w).Encode(event)
			_ = flush.Flush()
		}
	}
}

func (a *apiServer) locked(do func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	do()
}

func (a *apiServer) holder() string {
	spec, _ := a.lease["spec"].(map[string]any)
	holder, _ := spec["holderIdentity"].(string)
	return holder
}
