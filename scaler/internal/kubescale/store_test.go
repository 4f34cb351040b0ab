package kubescale

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headroom.dev/scaler/internal/control"
)

var _ control.Store = (*Store)(nil)

const storePath = "/api/v1/namespaces/" + namespace + "/configmaps/state"

// stored runs a test of a store, in a bubble.
func stored(t *testing.T, test func(t *testing.T, server *apiServer, store *Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t)
		test(t, server, NewStore(server.client(t), namespace, "state"))
	})
}

func load(t *testing.T, store *Store, want string) {
	t.Helper()
	got, err := store.Load(context.Background())
	if err != nil || string(got) != want || want == "" && got != nil {
		t.Errorf("loaded %q, %v; want %q", got, err, want)
	}
}

func save(t *testing.T, store *Store, state string) {
	t.Helper()
	if err := store.Save(context.Background(), []byte(state)); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsSavedIsLoadedAgain(t *testing.T) {
	stored(t, func(t *testing.T, server *apiServer, store *Store) {
		load(t, store, "")
		save(t, store, `{"lead":["π","\n"]}`)
		load(t, store, `{"lead":["π","\n"]}`)
		save(t, store, `{}`)
		load(t, NewStore(server.client(t), namespace, "state"), `{}`)
	})
}

func TestOtherKeysOfTheConfigMapAreLeftAlone(t *testing.T) {
	stored(t, func(t *testing.T, server *apiServer, store *Store) {
		server.put(storePath, map[string]any{"metadata": map[string]any{"name": "state"}, "data": map[string]any{"note": "mine"}})
		load(t, store, "")
		save(t, store, `{}`)
		server.mu.Lock()
		defer server.mu.Unlock()
		if data := server.objects[storePath]["data"].(map[string]any); data["note"] != "mine" || data["state.json"] != "{}" {
			t.Errorf("data %v", data)
		}
	})
}

func TestAStateThatIsTooLargeIsRefused(t *testing.T) {
	stored(t, func(t *testing.T, _ *apiServer, store *Store) {
		save(t, store, strings.Repeat("x", stateMax))
		err := store.Save(context.Background(), bytes.Repeat([]byte("y"), stateMax+1))
		if err == nil || !strings.Contains(err.Error(), "configmap headroom/state: 524289 bytes, at most 524288 are kept") {
			t.Errorf("%v", err)
		}
		load(t, store, strings.Repeat("x", stateMax))
	})
}

func TestASaveSurvivesThoseWhoWriteAtTheSameTime(t *testing.T) {
	for what, c := range map[string]struct {
		method string
		status *metav1.Status
	}{
		"another changed it":        {http.MethodPatch, failure(409, metav1.StatusReasonConflict, "it has changed")},
		"another created it first":  {http.MethodPost, failure(409, metav1.StatusReasonAlreadyExists, "it is there")},
		"another deleted it before": {http.MethodPatch, missing(storePath)},
	} {
		t.Run(what, func(t *testing.T) {
			stored(t, func(t *testing.T, server *apiServer, store *Store) {
				done := false
				server.answers(func(r request) *metav1.Status {
					if r.method == c.method && !done {
						done = true
						return c.status
					}
					return nil
				})
				save(t, store, `{"n":1}`)
				load(t, store, `{"n":1}`)
				if !done {
					t.Error("that did not happen")
				}
			})
		})
	}
}

func TestErrorsNameTheConfigMap(t *testing.T) {
	stored(t, func(t *testing.T, server *apiServer, store *Store) {
		server.answers(func(request) *metav1.Status { return noRight(`touch resource "configmaps"`) })
		if _, err := store.Load(context.Background()); err == nil || !strings.Contains(err.Error(), "loading state from configmap headroom/state") {
			t.Errorf("%v", err)
		}
		if err := store.Save(context.Background(), nil); err == nil || !strings.Contains(err.Error(), "saving state to configmap headroom/state") {
			t.Errorf("%v", err)
		}
	})
}
