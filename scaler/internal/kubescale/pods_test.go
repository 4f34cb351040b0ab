package kubescale

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headroom.dev/scaler/internal/control"
	"headroom.dev/scaler/internal/policy"
)

// startingPod is a pod of a ReplicaSet that was created just now. Times of the API
// are whole seconds.
func startingPod(name string) *corev1.Pod {
	yes := true
	cpu := func(text string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(text), corev1.ResourceMemory: resource.MustParse("64Mi")}
	}
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: namespace, UID: types.UID("uid-" + name), Labels: map[string]string{"app": "model-server"},
			CreationTimestamp: metav1.NewTime(time.Now().Truncate(time.Second)),
			OwnerReferences:   []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "rs", Controller: &yes}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "server", Resources: corev1.ResourceRequirements{Requests: cpu("0.1"), Limits: cpu("150m")}},
			{Name: "sidecar", Resources: corev1.ResourceRequirements{Requests: cpu("10m"), Limits: cpu("20m")}},
		}},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
}

func readyPod(name string) *corev1.Pod {
	p := startingPod(name)
	becomeReady(p)
	return p
}

func becomeReady(p *corev1.Pod) {
	p.Status.Phase = corev1.PodRunning
	setReady(p, corev1.ConditionTrue)
}

func becomeUnready(p *corev1.Pod) { setReady(p, corev1.ConditionFalse) }

func setReady(p *corev1.Pod, status corev1.ConditionStatus) {
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(time.Now().Truncate(time.Second))}}
}

func becomeTerminating(p *corev1.Pod) {
	now := metav1.Now()
	p.DeletionTimestamp = &now
}

func cohort(age time.Duration, count int) policy.Cohort {
	return policy.Cohort{Age: age, Count: count}
}

// watched runs a test of a Deployment of 3 with its pods, in a bubble.
func watched(t *testing.T, test func(t *testing.T, server *apiServer, target *Target, log *lockedBuilder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t)
		server.putTarget(deploymentPath, "apps/v1", "Deployment", 3, 7)
		target, log := server.target(t, deployment, "")
		test(t, server, target, log)
	})
}

// read reads when all news has arrived.
func read(t *testing.T, target *Target) control.Replicas {
	t.Helper()
	synctest.Wait()
	got, err := target.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func expect(t *testing.T, what string, got control.Replicas, ready int, starting, became []policy.Cohort) {
	t.Helper()
	if got.Ready != ready || !reflect.DeepEqual(got.Starting, starting) || !reflect.DeepEqual(got.BecameReady, became) {
		t.Errorf("%s: %d ready, starting %v, became ready %v; want %d, %v, %v", what, got.Ready, got.Starting, got.BecameReady, ready, starting, became)
	}
}

func TestPodsCountAsWhatTheyAre(t *testing.T) {
	for what, c := range map[string]struct {
		change          func(*corev1.Pod)
		ready, starting int
	}{
		"one that runs and is ready":           {becomeReady, 1, 0},
		"one that isn't scheduled":             {func(*corev1.Pod) {}, 0, 1},
		"one that was ready and isn't now":     {func(p *corev1.Pod) { becomeReady(p); becomeUnready(p) }, 0, 1},
		"one that is ready and ends":           {func(p *corev1.Pod) { becomeReady(p); becomeTerminating(p) }, 0, 0},
		"one that ends before it was ready":    {becomeTerminating, 0, 0},
		"one that has failed":                  {func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, 0, 0},
		"one that has succeeded":               {func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, 0, 0},
		"one that the scale does not select":   {func(p *corev1.Pod) { becomeReady(p); p.Labels["app"] = "other" }, 0, 0},
		"one whose node has stopped reporting": {func(p *corev1.Pod) { becomeReady(p); setReady(p, corev1.ConditionUnknown) }, 0, 1},
	} {
		t.Run(what, func(t *testing.T) {
			watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
				check := func(how string) {
					t.Helper()
					got := read(t, target)
					starting := 0
					for _, c := range got.Starting {
						starting += c.Count
					}
					if got.Ready != c.ready || starting != c.starting {
						t.Errorf("%s: %d ready, %d starting, want %d, %d", how, got.Ready, starting, c.ready, c.starting)
					}
				}
				p := startingPod("listed")
				c.change(p)
				server.putPod(p)
				check("listed")
				server.deletePod("listed")
				server.putPod(startingPod("watched"))
				synctest.Wait()
				server.changePod("watched", c.change)
				check("watched")
			})
		})
	}
}

func TestARolloutMayHaveMorePodsThanReplicas(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		for _, name := range []string{"old-1", "old-2", "old-3", "new-1"} {
			server.putPod(readyPod(name))
		}
		time.Sleep(4 * time.Second)
		server.putPod(startingPod("new-2"))
		server.putPod(startingPod("new-3"))
		got := read(t, target)
		expect(t, "at first", got, 4, []policy.Cohort{cohort(0, 2)}, []policy.Cohort{cohort(0, 4)})
		if got.Spec != 3 {
			t.Errorf("spec %d, want 3", got.Spec)
		}
	})
}

func TestLeadTimesAreToldOnceAndMoreExactlyThanTheAPIHasThem(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, log *lockedBuilder) {
		early, late := startingPod("early"), startingPod("late")
		time.Sleep(7 * time.Second)
		becomeReady(early)
		server.putPod(early)
		server.putPod(late)
		time.Sleep(2 * time.Second)
		expect(t, "the first time", read(t, target), 1, []policy.Cohort{cohort(9*time.Second, 1)}, []policy.Cohort{cohort(7*time.Second, 1)})
		expect(t, "the second time", read(t, target), 1, []policy.Cohort{cohort(9*time.Second, 1)}, nil)

		time.Sleep(300 * time.Millisecond)
		server.putPod(startingPod("watched"))
		synctest.Wait()
		time.Sleep(3450 * time.Millisecond)
		server.changePod("watched", becomeReady)
		server.changePod("late", becomeReady)
		// "late" was created before the watch began, so its age is by the API's clock.
		expect(t, "the watched one", read(t, target), 3, nil, []policy.Cohort{cohort(3450*time.Millisecond, 1), cohort(12750*time.Millisecond, 1)})

		server.changePod("watched", becomeUnready)
		expect(t, "unready again", read(t, target), 2, []policy.Cohort{cohort(3*time.Second, 1)}, nil)
		time.Sleep(time.Minute)
		server.changePod("watched", becomeReady)
		expect(t, "ready again", read(t, target), 3, nil, nil)
		if log.String() != "" {
			t.Errorf("logged:\n%s", log.String())
		}
	})
}

func TestAClockThatDisagreesIsNotMixedWithOurs(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		read(t, target)
		p := startingPod("one")
		p.CreationTimestamp = metav1.NewTime(p.CreationTimestamp.Add(-time.Hour))
		server.putPod(p)
		synctest.Wait()
		time.Sleep(5500 * time.Millisecond)
		server.changePod("one", func(p *corev1.Pod) {
			becomeReady(p)
			p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(p.CreationTimestamp.Add(5 * time.Second))
		})
		expect(t, "an hour behind", read(t, target), 1, nil, []policy.Cohort{cohort(5*time.Second, 1)})
	})
}

func TestARestartLongAgoIsNotTakenForAStart(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		old := startingPod("old")
		time.Sleep(24 * time.Hour)
		becomeReady(old)
		old.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "server", RestartCount: 1}}
		server.putPod(old)
		expect(t, "restarted before", read(t, target), 1, nil, nil)

		server.putPod(startingPod("new"))
		synctest.Wait()
		time.Sleep(20 * time.Second)
		server.changePod("new", func(p *corev1.Pod) {
			becomeReady(p)
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "server", RestartCount: 1}}
		})
		expect(t, "restarted while it started", read(t, target), 2, nil, []policy.Cohort{cohort(20*time.Second, 1)})
	})
}

func TestAFlapLongAgoIsNotTakenForAStart(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		flapped, steady := startingPod("flapped"), startingPod("steady")
		for _, p := range []*corev1.Pod{flapped, steady} {
			started := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "server", State: started}}
		}
		time.Sleep(4 * time.Second)
		becomeReady(steady)
		time.Sleep(3 * time.Hour)
		becomeReady(flapped)
		server.putPod(flapped)
		server.putPod(steady)
		expect(t, "a scaler that has just started", read(t, target), 2, nil, []policy.Cohort{cohort(4*time.Second, 1)})
	})
}

func TestAnotherSelectorGetsAnotherWatch(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		for name, revision := range map[string]string{"blue-1": "blue", "blue-2": "blue", "green-1": "green"} {
			p := readyPod(name)
			p.Labels["revision"] = revision
			server.putPod(p)
		}
		choose := func(selector string) {
			server.mu.Lock()
			defer server.mu.Unlock()
			server.selector = selector
		}
		choose("app=model-server,revision=blue")
		expect(t, "blue", read(t, target), 2, nil, []policy.Cohort{cohort(0, 2)})
		choose("app=model-server,revision=green")
		expect(t, "green", read(t, target), 1, nil, []policy.Cohort{cohort(0, 1)})
		choose("app=model-server,revision=blue")
		expect(t, "blue again", read(t, target), 2, nil, nil)
		synctest.Wait()
		server.mu.Lock()
		defer server.mu.Unlock()
		if len(server.watchers) != 1 {
			t.Errorf("%d watches, want the others ended", len(server.watchers))
		}
	})
}

func TestWherePodsAreForbiddenTheStatusCounts(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, log *lockedBuilder) {
		server.putPod(readyPod("one"))
		server.answers(func(r request) *metav1.Status {
			if r.path == podsPath {
				return noRight(`list resource "pods"`)
			}
			return nil
		})
		for range 3 {
			got := read(t, target)
			expect(t, "forbidden", got, 7, nil, nil)
			if !got.Resizes.Unsupported {
				t.Error("resizing is not said to be unsupported")
			}
		}
		if err := target.Resize(context.Background(), 2); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, log.String())
		}
		server.answers(nil)
		time.Sleep(hiddenRetry)
		expect(t, "allowed now", read(t, target), 1, nil, []policy.Cohort{cohort(0, 1)})
		if !strings.Contains(log.String(), "works again") {
			t.Errorf("not logged that it works again:\n%s", log.String())
		}
	})
}

func TestAScaleWithoutSelectorDoesNotSelectEverything(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		server.selector = ""
		server.putPod(readyPod("one"))
		expect(t, "no selector", read(t, target), 7, nil, nil)
		if lists := server.sent(http.MethodGet, "/pods"); len(lists) > 0 {
			t.Error("the pods were listed")
		}
	})
}

func TestAWatchThatIsLostIsNoticed(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, log *lockedBuilder) {
		server.putPod(readyPod("one"))
		server.putPod(readyPod("two"))
		if got := read(t, target); got.Ready != 2 {
			t.Fatalf("%d ready", got.Ready)
		}
		server.answers(func(r request) *metav1.Status {
			if r.path == podsPath {
				return failure(500, metav1.StatusReasonInternalError, "etcd is down")
			}
			return nil
		})
		server.cutWatches()
		server.deletePod("one")
		time.Sleep(staleAfter - time.Second)
		if got := read(t, target); got.Ready != 2 {
			t.Errorf("%d ready within 30 s, want what was known", got.Ready)
		}
		time.Sleep(2 * time.Second)
		_, err := target.Read(context.Background())
		if err == nil || !strings.Contains(err.Error(), "the watch has failed for 31s") || !strings.Contains(err.Error(), "etcd is down") {
			t.Errorf("%v after 31 s, want an error that says so", err)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, log.String())
		}
		server.answers(nil)
		time.Sleep(retryMax)
		if got := read(t, target); got.Ready != 1 {
			t.Errorf("%d ready when the watch is back, want the 1 that is left", got.Ready)
		}
	})
}

func TestWhereWatchesFailThePodsAreListedAgainAndAgain(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		server.answers(func(r request) *metav1.Status {
			if r.method == "WATCH" {
				return noRight(`watch resource "pods"`)
			}
			return nil
		})
		read(t, target)
		time.Sleep(10 * time.Minute)
		server.putPod(readyPod("one"))
		time.Sleep(retryMax)
		if got := read(t, target); got.Ready != 1 {
			t.Errorf("%d ready, want 1", got.Ready)
		}
	})
}

func TestAWatchIsRenewedInTime(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, log *lockedBuilder) {
		read(t, target)
		// A connection that died: what happens isn't told.
		server.mu.Lock()
		clear(server.watchers)
		server.mu.Unlock()
		server.putPod(readyPod("one"))
		time.Sleep(watchTime + callTimeout + retryMax)
		if got := read(t, target); got.Ready != 1 {
			t.Errorf("%d ready after two minutes, want 1", got.Ready)
		}
		if log.String() != "" {
			t.Errorf("logged:\n%s", log.String())
		}
	})
}

func TestReadWaitsNoLongerThanItsContext(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		release := make(chan struct{})
		server.answers(func(r request) *metav1.Status {
			if r.path == podsPath {
				<-release
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := target.Read(ctx); err == nil || time.Since(began) != time.Second {
			t.Errorf("%v after %s, want an error after 1 s", err, time.Since(began))
		}
		close(release)
		read(t, target)
	})
}

func TestAListThatFailsAtFirstIsAnError(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		server.answers(func(r request) *metav1.Status {
			if r.path == podsPath {
				return failure(500, metav1.StatusReasonInternalError, "etcd is down")
			}
			return nil
		})
		if _, err := target.Read(context.Background()); err == nil || !strings.Contains(err.Error(), "reading the pods of deployment headroom/model-server: listing them") {
			t.Errorf("%v", err)
		}
		server.answers(nil)
		time.Sleep(retryMax)
		read(t, target)
	})
}
