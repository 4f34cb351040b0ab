package kubescale

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/rest"
)

const namespace, name = "headroom", "model-server"

var deployment = Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: namespace, Name: name}

// apiServer is as much of an API server as this package talks to, so that the real
// clients are tested with their paths and patches. It is reached over pipes, which
// lets a test run in a bubble of testing/synctest: time passes at once there, and
// synctest.Wait returns when all that was sent has arrived.
type apiServer struct {
	listener pipes

	mu       sync.Mutex
	version  int
	objects  map[string]map[string]any // by path
	selector string                    // of every scale
	requests []request
	watchers map[*watcher]bool
	history  []change // of pods
	// answer may answer a request in the server's place: with a status, unless nil.
	answer func(request) *metav1.Status
}

type request struct{ method, path, body string }

// change is what happened to a pod: before is nil for one that is new, after for
// one that was deleted.
type change struct {
	version       int
	before, after map[string]any
}

type watcher struct {
	selector labels.Selector
	events   chan []byte
	cut      chan struct{}
}

const podsPath = "/api/v1/namespaces/" + namespace + "/pods"

func newServer(t *testing.T) *apiServer {
	s := &apiServer{
		listener: pipes{conns: make(chan net.Conn), closed: make(chan struct{})},
		objects:  map[string]map[string]any{}, watchers: map[*watcher]bool{}, selector: "app=" + name,
	}
	server := &http.Server{Handler: s}
	go server.Serve(&s.listener)
	t.Cleanup(func() { server.Close() })
	return s
}

func (s *apiServer) client(t *testing.T) *Client {
	t.Helper()
	client, err := newClient(&rest.Config{Host: "http://kubernetes.test", Dial: s.listener.dial})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// target makes a target and returns what it logs too.
func (s *apiServer) target(t *testing.T, ref Ref, container string) (*Target, *lockedBuilder) {
	t.Helper()
	log := &lockedBuilder{}
	target, err := NewTarget(s.client(t), ref, Options{Identity: "me", Container: container, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	return target, log
}

// put adds or changes the object at a path.
func (s *apiServer) put(path string, object map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(path, object)
}

// putTarget makes an object with a scale.
func (s *apiServer) putTarget(path, apiVersion, kind string, replicas, ready int) {
	s.put(path, map[string]any{
		"apiVersion": apiVersion, "kind": kind,
		"metadata": map[string]any{"name": name, "namespace": namespace, "uid": "uid-" + kind, "annotations": map[string]any{"owner": "somebody"}},
		"spec":     map[string]any{"replicas": replicas}, "status": map[string]any{"readyReplicas": ready},
	})
}

const deploymentPath = "/apis/apps/v1/namespaces/" + namespace + "/deployments/" + name

// putPod adds or changes a pod.
func (s *apiServer) putPod(p *corev1.Pod) {
	s.put(podsPath+"/"+p.Name, decode[map[string]any](encode(p)))
}

func (s *apiServer) pod(name string) *corev1.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return decode[*corev1.Pod](encode(s.objects[podsPath+"/"+name]))
}

func (s *apiServer) deletePod(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	object := s.objects[podsPath+"/"+name]
	delete(s.objects, podsPath+"/"+name)
	s.tell(change{version: s.version, before: object})
}

// changePod changes a pod that is there.
func (s *apiServer) changePod(name string, change func(*corev1.Pod)) {
	p := s.pod(name)
	change(p)
	s.putPod(p)
}

// answers sets what may answer in the server's place; nil ends that.
func (s *apiServer) answers(answer func(request) *metav1.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// cutWatches ends all watches.
func (s *apiServer) cutWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		close(w.cut)
	}
	clear(s.watchers)
}

// sent returns the requests of a method whose path has that end, and forgets all.
func (s *apiServer) sent(method, end string) []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.requests
	s.requests = nil
	return slices.DeleteFunc(all, func(r request) bool { return r.method != method || !strings.HasSuffix(r.path, end) })
}

// events returns the events by reason.
func (s *apiServer) events() map[string]corev1.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]corev1.Event{}
	for path, object := range s.objects {
		if strings.HasPrefix(path, "/api/v1/namespaces/"+namespace+"/events/") {
			e := decode[corev1.Event](encode(object))
			out[e.Reason] = e
		}
	}
	return out
}

func (s *apiServer) write(path string, object map[string]any) {
	s.version++
	before := s.objects[path]
	meta := object["metadata"].(map[string]any)
	meta["resourceVersion"] = strconv.Itoa(s.version)
	s.objects[path] = object
	if strings.HasPrefix(path, podsPath+"/") {
		s.tell(change{version: s.version, before: before, after: object})
	}
}

func (s *apiServer) tell(c change) {
	s.history = append(s.history, c)
	for w := range s.watchers {
		w.tell(c)
	}
}

// tell sends what a change is to those who see only what they have selected.
func (w *watcher) tell(c change) {
	selects := func(pod map[string]any) bool { return pod != nil && w.selector.Matches(labelsOf(pod)) }
	kind, object := "", c.after
	switch before, after := selects(c.before), selects(c.after); {
	case before && after:
		kind = "MODIFIED"
	case after:
		kind = "ADDED"
	case before:
		kind, object = "DELETED", c.before
	default:
		return
	}
	w.events <- encode(map[string]any{"type": kind, "object": object})
}

func labelsOf(object map[string]any) labels.Set {
	return decode[metav1.PartialObjectMetadata](encode(object)).Labels
}

// ServeHTTP answers one request.
func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	got := request{method: r.Method, path: r.URL.Path, body: string(body)}
	watches := r.URL.Query().Get("watch") == "true"
	if watches {
		got.method = "WATCH"
	}
	s.mu.Lock()
	s.requests = append(s.requests, got)
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		if status := answer(got); status != nil {
			reply(w, int(status.Code), status)
			return
		}
	}
	if watches {
		s.serveWatch(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path, sub := got.path, ""
	for _, name := range []string{"/scale", "/resize"} {
		if before, found := strings.CutSuffix(path, name); found {
			path, sub = before, name
		}
	}
	if r.Method == http.MethodPost {
		object := decode[map[string]any](body)
		path += "/" + object["metadata"].(map[string]any)["name"].(string)
		if _, there := s.objects[path]; there {
			reply(w, 409, failure(409, metav1.StatusReasonAlreadyExists, "it is there already"))
			return
		}
		s.write(path, object)
		reply(w, 201, object)
		return
	}
	if path == podsPath {
		s.list(w, r)
		return
	}
	object, there := s.objects[path]
	if !there {
		reply(w, 404, missing(path))
		return
	}
	switch {
	case r.Method == http.MethodGet && sub == "/scale":
		reply(w, 200, s.scale(object))
	case r.Method == http.MethodGet:
		reply(w, 200, object)
	case r.Method == http.MethodPut && sub == "/scale":
		s.putScale(w, path, object, body)
	case r.Method == http.MethodPatch:
		s.patch(w, path, object, r.Header.Get("Content-Type"), body)
	default:
		reply(w, 405, failure(405, metav1.StatusReasonMethodNotAllowed, "not that way"))
	}
}

func (s *apiServer) list(w http.ResponseWriter, r *http.Request) {
	selector, _ := labels.Parse(r.URL.Query().Get("labelSelector"))
	items := []any{}
	for path, object := range s.objects {
		if strings.HasPrefix(path, podsPath+"/") && selector.Matches(labelsOf(object)) {
			items = append(items, object)
		}
	}
	reply(w, 200, map[string]any{
		"apiVersion": "v1", "kind": "PodList", "metadata": map[string]any{"resourceVersion": strconv.Itoa(s.version)}, "items": items,
	})
}

func (s *apiServer) serveWatch(w http.ResponseWriter, r *http.Request) {
	selector, _ := labels.Parse(r.URL.Query().Get("labelSelector"))
	seconds, _ := strconv.Atoi(r.URL.Query().Get("timeoutSeconds"))
	me := &watcher{selector: selector, events: make(chan []byte, 1000), cut: make(chan struct{})}
	version, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	s.mu.Lock()
	for _, c := range s.history {
		if c.version > version {
			me.tell(c)
		}
	}
	s.watchers[me] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, me)
	}()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	timeout := time.After(time.Duration(seconds) * time.Second)
	for {
		select {
		case event := <-me.events:
			w.Write(event)
			w.(http.Flusher).Flush()
		case <-timeout:
			return
		case <-me.cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (s *apiServer) scale(object map[string]any) map[string]any {
	meta := maps.Clone(object["metadata"].(map[string]any))
	spec := map[string]any{}
	if n := decode[int](encode(object["spec"].(map[string]any)["replicas"])); n > 0 {
		spec["replicas"] = n // a real one leaves 0 out too
	}
	return map[string]any{
		"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": meta, "spec": spec,
		"status": map[string]any{"replicas": 0, "selector": s.selector},
	}
}

func (s *apiServer) putScale(w http.ResponseWriter, path string, object map[string]any, body []byte) {
	got := decode[struct {
		APIVersion, Kind string
		Metadata         metav1.ObjectMeta
		Spec             struct{ Replicas int }
	}](body)
	if got.APIVersion != "autoscaling/v1" || got.Kind != "Scale" || got.Metadata.Name != name || got.Metadata.Namespace != namespace {
		reply(w, 400, failure(400, metav1.StatusReasonBadRequest, "not a scale: "+string(body)))
		return
	}
	if got.Metadata.ResourceVersion != object["metadata"].(map[string]any)["resourceVersion"] {
		reply(w, 409, failure(409, metav1.StatusReasonConflict, "the object has been modified"))
		return
	}
	object["spec"].(map[string]any)["replicas"] = got.Spec.Replicas
	s.write(path, object)
	reply(w, 200, s.scale(object))
}

func (s *apiServer) patch(w http.ResponseWriter, path string, object map[string]any, kind string, body []byte) {
	meta := decode[metav1.PartialObjectMetadata](body)
	if uid := object["metadata"].(map[string]any)["uid"]; meta.UID != "" && string(meta.UID) != uid {
		reply(w, 409, failure(409, metav1.StatusReasonConflict, "another uid"))
		return
	}
	var after []byte
	var err error
	switch kind {
	case "application/merge-patch+json":
		after = encode(merge(object, decode[map[string]any](body)))
	case "application/strategic-merge-patch+json":
		after, err = strategicpatch.StrategicMergePatch(encode(object), body, corev1.Pod{})
	}
	if after == nil || err != nil {
		reply(w, 400, failure(400, metav1.StatusReasonBadRequest, fmt.Sprintf("patch %s of type %s: %v", body, kind, err)))
		return
	}
	s.write(path, decode[map[string]any](after))
	reply(w, 200, s.objects[path])
}

// merge is a JSON merge patch, of RFC 7386.
func merge(object, patch map[string]any) map[string]any {
	out := map[string]any{}
	maps.Copy(out, object)
	for key, value := range patch {
		if value == nil {
			delete(out, key)
			continue
		}
		if inner, ok := value.(map[string]any); ok {
			before, _ := out[key].(map[string]any)
			value = merge(before, inner)
		}
		out[key] = value
	}
	return out
}

func reply(w http.ResponseWriter, code int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(encode(object))
}

func failure(code int32, reason metav1.StatusReason, message string) *metav1.Status {
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: code, Reason: reason, Message: message,
	}
}

func missing(path string) *metav1.Status {
	s := failure(404, metav1.StatusReasonNotFound, fmt.Sprintf("%q not found", path))
	s.Details = &metav1.StatusDetails{Name: path[strings.LastIndex(path, "/")+1:]}
	return s
}

// unknown is how a server answers that has the group but no such subresource, and
// unknownPage what a client makes of its answer to any other path.
func unknown() *metav1.Status {
	s := failure(404, metav1.StatusReasonNotFound, "the server could not find the requested resource")
	s.Details = &metav1.StatusDetails{}
	return s
}

func unknownPage() *metav1.Status {
	s := unknown()
	s.Details = &metav1.StatusDetails{Name: name, Causes: []metav1.StatusCause{{Type: metav1.CauseTypeUnexpectedServerResponse, Message: "404 page not found"}}}
	return s
}

func noRight(to string) *metav1.Status {
	return failure(403, metav1.StatusReasonForbidden, `forbidden: User "scaler" cannot `+to+` in API group "" in the namespace "headroom"`)
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

func decode[T any](text []byte) T {
	var v T
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&v); err != nil {
		panic(fmt.Sprintf("%v: %s", err, text))
	}
	return v
}

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept returns the next connection.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr is no real address.
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "kubernetes.test"} }

type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
