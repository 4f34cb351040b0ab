package kubescale

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestThePodsWithTheLeastWorkAreMarked(t *testing.T) {
	make := func(name string, change func(*pod)) pod {
		p := pod{name: name, uid: types.UID(name), hosts: []string{name, "10.0.0." + name}, ready: true, ranked: true}
		if change != nil {
			change(&p)
		}
		return p
	}
	ours := func(cost string) func(*pod) { return func(p *pod) { p.cost, p.marked = cost, cost } }
	theirs := func(cost string) func(*pod) { return func(p *pod) { p.cost = cost } }
	since := func(s int64) func(*pod) { return func(p *pod) { p.since = time.Unix(s, 0) } }

	for what, c := range map[string]struct {
		pods   []pod
		remove int
		work   map[string]float64
		want   map[string]string // cost by pod; "" for one that is taken away
	}{
		"by address": {
			[]pod{make("1", nil), make("2", nil), make("3", nil)}, 2,
			map[string]float64{"10.0.0.1": 5, "10.0.0.2": 1, "10.0.0.3": 3},
			map[string]string{"2": "-2", "3": "-1"},
		},
		"by name": {
			[]pod{make("1", nil), make("2", nil)}, 1,
			map[string]float64{"1": 5, "2": 1},
			map[string]string{"2": "-1"},
		},
		"where work is equal, the one that was ready last": {
			[]pod{make("1", since(9)), make("2", since(5)), make("3", since(7))}, 2,
			map[string]float64{"1": 0, "2": 0, "3": 0},
			map[string]string{"1": "-2", "3": "-1"},
		},
		"those whose work isn't known go last": {
			[]pod{make("1", nil), make("2", nil), make("3", nil)}, 2,
			map[string]float64{"2": 7, "3": 9},
			map[string]string{"2": "-2", "3": "-1"},
		},
		"none where no work is known, and old marks are taken away": {
			[]pod{make("1", ours("-1")), make("2", nil)}, 1, nil,
			map[string]string{"1": ""},
		},
		"a mark that is right stays as it is": {
			[]pod{make("1", ours("-1")), make("2", nil)}, 1,
			map[string]float64{"1": 0, "2": 1},
			map[string]string{},
		},
		"a survivor's old mark is taken away": {
			[]pod{make("1", ours("-1")), make("2", nil), make("3", nil)}, 1,
			map[string]float64{"1": 8, "2": 1, "3": 2},
			map[string]string{"1": "", "2": "-1"},
		},
		"also that of one that isn't ready any more": {
			[]pod{make("1", func(p *pod) { ours("-3")(p); p.ready = false }), make("2", nil), make("3", nil)}, 1,
			map[string]float64{"2": 1, "3": 2},
			map[string]string{"1": "", "2": "-1"},
		},
		"a cost of somebody else's is left alone": {
			[]pod{make("1", theirs("100")), make("2", theirs("-100")), make("3", nil), make("4", nil)}, 1,
			map[string]float64{"1": 0, "2": 9, "3": 2, "4": 1},
			map[string]string{"4": "-1"},
		},
		"and so is a mark that somebody changed": {
			[]pod{make("1", func(p *pod) { p.cost, p.marked = "50", "-1" }), make("2", nil)}, 1,
			map[string]float64{"1": 0, "2": 2},
			map[string]string{"2": "-1"},
		},
		"pods that aren't ready go anyway": {
			[]pod{make("1", func(p *pod) { p.ready = false }), make("2", nil), make("3", nil)}, 2,
			map[string]float64{"2": 1, "3": 2},
			map[string]string{"2": "-2", "3": "-1"},
		},
		"a StatefulSet's pods have an order of their own": {
			[]pod{make("1", func(p *pod) { p.ranked = false })}, 1, map[string]float64{"1": 0}, map[string]string{},
		},
		"more than there are": {
			[]pod{make("1", nil), make("2", nil)}, 5,
			map[string]float64{"1": 1, "2": 2},
			map[string]string{"1": "-2", "2": "-1"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			got := map[string]string{}
			for _, c := range remarked(c.pods, c.remove, c.work) {
				got[c.pod.name] = ""
				if c.value != nil {
					got[c.pod.name] = *c.value
				}
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("costs %v, want %v", got, c.want)
			}
		})
	}
}

// addressed is a ready pod with an address.
func addressed(name, address string) *corev1.Pod {
	p := readyPod(name)
	p.Status.PodIP, p.Status.PodIPs = address, []corev1.PodIP{{IP: address}}
	return p
}

func costs(server *apiServer, names ...string) string {
	var out []string
	for _, name := range names {
		out = append(out, server.pod(name).Annotations[corev1.PodDeletionCost])
	}
	return strings.Join(out, ",")
}

func TestBeforeScalingInPodsAreMarkedAndSurvivorsUnmarked(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		ctx := context.Background()
		server.putPod(addressed("a", "10.0.0.1"))
		server.putPod(addressed("b", "10.0.0.2"))
		server.putPod(addressed("c", "fd00::3"))
		if err := target.Scale(ctx, read(t, target), 1, "less", map[string]float64{"10.0.0.1": 1, "10.0.0.2": 4, "fd00::3": 0}); err != nil {
			t.Fatal(err)
		}
		if got := costs(server, "a", "b", "c"); got != "-1,,-2" {
			t.Errorf("costs %q", got)
		}
		// Somebody raised it again before any of them went, and the work has moved.
		server.putTarget(deploymentPath, "apps/v1", "Deployment", 3, 0)
		if err := target.Scale(ctx, read(t, target), 2, "less", map[string]float64{"10.0.0.1": 1, "10.0.0.2": 0, "fd00::3": 2}); err != nil {
			t.Fatal(err)
		}
		if got := costs(server, "a", "b", "c"); got != ",-1," {
			t.Errorf("costs %q", got)
		}
		server.sent("", "")
		if err := target.Scale(ctx, read(t, target), 4, "more", map[string]float64{"10.0.0.1": 1}); err != nil {
			t.Fatal(err)
		}
		if patches := server.sent(http.MethodPatch, ""); len(patches) != 0 {
			t.Errorf("scaling out has sent %v", patches)
		}
	})
}

func TestThatMarkingFailsStopsNothingAndIsSaidOnce(t *testing.T) {
	for what, answer := range map[string]func(request) *metav1.Status{
		"no right to": func(request) *metav1.Status { return noRight(`patch resource "pods"`) },
		"it takes too long": func(request) *metav1.Status {
			time.Sleep(time.Minute)
			return nil
		},
	} {
		t.Run(what, func(t *testing.T) {
			watched(t, func(t *testing.T, server *apiServer, target *Target, log *lockedBuilder) {
				for _, name := range []string{"a", "b", "c"} {
					server.putPod(readyPod(name))
				}
				server.answers(func(r request) *metav1.Status {
					if r.method == http.MethodPatch && strings.HasPrefix(r.path, podsPath) {
						return answer(r)
					}
					return nil
				})
				for _, to := range []int{2, 1} {
					seen := read(t, target)
					ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
					defer cancel()
					if err := target.Scale(ctx, seen, to, "less", map[string]float64{"a": 1, "b": 2}); err != nil {
						t.Error(err)
					}
				}
				if got := read(t, target); got.Spec != 1 {
					t.Errorf("%d replicas, want 1", got.Spec)
				}
				time.Sleep(time.Minute) // until the slow answers are over
				if n := strings.Count(log.String(), "level=WARN"); n != 1 {
					t.Errorf("%d warnings, want 1:\n%s", n, log.String())
				}
			})
		})
	}
}

func TestAPodThatIsGoneNeedsNoMark(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, log *lockedBuilder) {
		server.putPod(readyPod("gone"))
		server.putPod(readyPod("replaced"))
		seen := read(t, target)
		synctest.Wait()
		// The watch brings nothing of this.
		server.mu.Lock()
		clear(server.watchers)
		server.mu.Unlock()
		server.deletePod("gone")
		server.changePod("replaced", func(p *corev1.Pod) { p.UID = "another" })
		if err := target.Scale(context.Background(), seen, 1, "less", map[string]float64{"gone": 0, "replaced": 1}); err != nil {
			t.Error(err)
		}
		if len(server.pod("replaced").Annotations) > 0 || log.String() != "" {
			t.Errorf("annotations %v, logged:\n%s", server.pod("replaced").Annotations, log.String())
		}
	})
}
