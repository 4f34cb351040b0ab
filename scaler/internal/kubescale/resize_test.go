package kubescale

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headroom.dev/scaler/internal/control"
)

// obey does what a kubelet does with a resize that it can do.
func obey(p *corev1.Pod) {
	becomeReady(p)
	p.Status.ContainerStatuses = nil
	for _, c := range p.Spec.Containers {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, Resources: c.Resources.DeepCopy()})
	}
}

// postpone does what a kubelet does with one that it can't do now, or ever.
func postpone(reason string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: reason})
	}
}

func resize(t *testing.T, target *Target, factor float64) {
	t.Helper()
	read(t, target)
	if err := target.Resize(context.Background(), factor); err != nil {
		t.Fatal(err)
	}
}

// cpus are the containers' requests and limits, as in "100m/150m 10m/20m".
func cpus(server *apiServer, name string) string {
	var out []string
	for _, c := range server.pod(name).Spec.Containers {
		out = append(out, c.Resources.Requests.Cpu().String()+"/"+c.Resources.Limits.Cpu().String())
	}
	return strings.Join(out, " ")
}

func expectCPU(t *testing.T, server *apiServer, name, want string) {
	t.Helper()
	if got := cpus(server, name); got != want {
		t.Errorf("pod %s has CPU %s, want %s", name, got, want)
	}
}

func expectResizes(t *testing.T, what string, target *Target, want control.Resizes) {
	t.Helper()
	if got := read(t, target).Resizes; got != want {
		t.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

func TestReadyPodsAreRaisedAndGetTheirUsualCPUBack(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, log *lockedBuilder) {
		server.putPod(readyPod("a"))
		server.putPod(readyPod("b"))
		server.putPod(startingPod("new"))
		resize(t, target, 1)
		if patches := server.sent(http.MethodPatch, ""); len(patches) > 0 {
			t.Errorf("with nothing to do, sent %v", patches)
		}

		resize(t, target, 2.5)
		patches := server.sent(http.MethodPatch, "/resize")
		if len(patches) != 2 {
			t.Errorf("%d pods resized, want 2", len(patches))
		}
		expectCPU(t, server, "a", "250m/375m 10m/20m")
		expectCPU(t, server, "b", "250m/375m 10m/20m")
		expectCPU(t, server, "new", "100m/150m 10m/20m")
		if memory := server.pod("a").Spec.Containers[0].Resources.Limits.Memory().String(); memory != "64Mi" {
			t.Errorf("memory %s, want it left alone", memory)
		}

		// The kubelet of one is faster than that of the other.
		server.changePod("a", obey)
		server.changePod("b", func(p *corev1.Pod) {
			obey(p)
			p.Status.ContainerStatuses[0].Resources.Limits[corev1.ResourceCPU] = resource.MustParse("150m")
		})
		expectResizes(t, "one done", target, control.Resizes{Raised: 1, Pending: 1})
		server.changePod("b", obey)
		expectResizes(t, "both done", target, control.Resizes{Raised: 2})
		resize(t, target, 2.5)
		if patches := server.sent(http.MethodPatch, ""); len(patches) > 0 {
			t.Errorf("with nothing to do, sent %v", patches)
		}

		resize(t, target, 1.3333)
		expectCPU(t, server, "a", "133m/200m 10m/20m")
		resize(t, target, 1)
		expectCPU(t, server, "a", "100m/150m 10m/20m")
		expectCPU(t, server, "b", "100m/150m 10m/20m")
		server.changePod("a", obey)
		server.changePod("b", obey)
		expectResizes(t, "back", target, control.Resizes{})
		if log.String() != "" {
			t.Errorf("logged:\n%s", log.String())
		}
	})
}

func TestAPodThatIsRaisedIsRecognisedByTheNextScaler(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		server.putPod(readyPod("a"))
		server.putPod(readyPod("b"))
		server.putPod(readyPod("c"))
		resize(t, target, 3)
		target.Close()
		for _, name := range []string{"a", "b", "c"} {
			server.changePod(name, obey)
		}
		server.changePod("b", becomeUnready)
		server.changePod("c", becomeTerminating)

		next, _ := server.target(t, deployment, "sidecar") // its config may have changed too
		expectResizes(t, "found", next, control.Resizes{Raised: 1})
		resize(t, next, 2)
		expectCPU(t, server, "a", "200m/300m 10m/20m")
		expectCPU(t, server, "b", "200m/300m 10m/20m") // not ready, so it isn't raised, but has too much
		resize(t, next, 1)
		expectCPU(t, server, "a", "100m/150m 10m/20m")
		expectCPU(t, server, "b", "100m/150m 10m/20m")
		expectCPU(t, server, "c", "300m/450m 10m/20m")
	})
}

func TestTheContainerMayBeNamed(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, _ *Target, _ *lockedBuilder) {
		server.putPod(readyPod("a"))
		target, _ := server.target(t, deployment, "sidecar")
		resize(t, target, 2)
		expectCPU(t, server, "a", "100m/150m 20m/40m")
	})
}

func TestWhatThePodsHaveNotIsNotSet(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		p := readyPod("a")
		delete(p.Spec.Containers[0].Resources.Requests, corev1.ResourceCPU)
		server.putPod(p)
		resize(t, target, 2)
		expectCPU(t, server, "a", "0/300m 10m/20m")
		if _, set := server.pod("a").Spec.Containers[0].Resources.Requests[corev1.ResourceCPU]; set {
			t.Error("a request was added")
		}
	})
}

func TestADeferredResizeWaits(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		server.putPod(readyPod("a"))
		resize(t, target, 2)
		server.changePod("a", postpone(corev1.PodReasonDeferred))
		expectResizes(t, "deferred", target, control.Resizes{Deferred: 1})
		server.sent("", "")
		resize(t, target, 2)
		if patches := server.sent(http.MethodPatch, ""); len(patches) > 0 {
			t.Errorf("sent %v, want it left to the kubelet", patches)
		}
		resize(t, target, 1)
		expectCPU(t, server, "a", "100m/150m 10m/20m")
	})
}

func TestAnInfeasibleResizeIsTakenBackAndNotTriedForAMinute(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		server.putPod(readyPod("a"))
		server.putPod(readyPod("b"))
		resize(t, target, 2)
		server.changePod("a", postpone(corev1.PodReasonInfeasible))
		server.changePod("b", obey)
		expectResizes(t, "infeasible", target, control.Resizes{Infeasible: 1, Raised: 1})
		resize(t, target, 2)
		expectCPU(t, server, "a", "100m/150m 10m/20m")
		expectCPU(t, server, "b", "200m/300m 10m/20m")
		server.changePod("a", obey)
		expectResizes(t, "taken back", target, control.Resizes{Infeasible: 1, Raised: 1})
		time.Sleep(infeasibleFor - time.Second)
		resize(t, target, 2)
		expectCPU(t, server, "a", "100m/150m 10m/20m")
		time.Sleep(2 * time.Second)
		resize(t, target, 2)
		expectCPU(t, server, "a", "200m/300m 10m/20m")
	})
}

func TestAnAnswerToAnEarlierResizeIsNotTakenForOne(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		p := readyPod("a")
		postpone(corev1.PodReasonInfeasible)(p)
		p.Generation, p.Status.Conditions[1].ObservedGeneration = 3, 2
		server.putPod(p)
		expectResizes(t, "before", target, control.Resizes{})
		resize(t, target, 2)
		expectCPU(t, server, "a", "200m/300m 10m/20m")
	})
}

func TestAResizeThatIsBeingDoneIsPending(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		p := readyPod("a")
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue})
		server.putPod(p)
		expectResizes(t, "in progress", target, control.Resizes{Pending: 1})
	})
}

func TestWhereResizingIsUnsupportedItIsSaidOnceAndTriedAgainLater(t *testing.T) {
	for what, c := range map[string]struct {
		end    string
		status *metav1.Status
	}{
		"the API server has no such subresource": {"/resize", unknown()},
		"whatever is in front of it hasn't":      {"/resize", unknownPage()},
		"the API server can't do it":             {"/resize", failure(405, metav1.StatusReasonMethodNotAllowed, "the server does not allow this method on the requested resource")},
		"there is no right to resize":            {"/resize", noRight(`patch resource "pods/resize"`)},
		"there is no right to annotate":          {"/a", noRight(`patch resource "pods"`)},
	} {
		t.Run(what, func(t *testing.T) {
			watched(t, func(t *testing.T, server *apiServer, target *Target, log *lockedBuilder) {
				server.putPod(readyPod("a"))
				server.answers(func(r request) *metav1.Status {
					if r.method == http.MethodPatch && strings.HasSuffix(r.path, c.end) {
						return c.status
					}
					return nil
				})
				for range 3 {
					resize(t, target, 2)
					expectResizes(t, "unsupported", target, control.Resizes{Unsupported: true})
					time.Sleep(time.Second)
				}
				time.Sleep(unsupportedFor)
				expectResizes(t, "perhaps supported now", target, control.Resizes{})
				resize(t, target, 2)
				expectCPU(t, server, "a", "100m/150m 10m/20m")
				if n := strings.Count(log.String(), "level=WARN"); n != 1 {
					t.Errorf("%d warnings, want 1:\n%s", n, log.String())
				}
				server.answers(nil)
				time.Sleep(unsupportedFor)
				resize(t, target, 2)
				expectCPU(t, server, "a", "200m/300m 10m/20m")
				if !strings.Contains(log.String(), "works again") {
					t.Errorf("not logged that it works again:\n%s", log.String())
				}
			})
		})
	}
}

func TestPodsThatCannotChangeAreUnsupported(t *testing.T) {
	for what, change := range map[string]func(*corev1.Container){
		"no CPU limit": func(c *corev1.Container) { delete(c.Resources.Limits, corev1.ResourceCPU) },
		"a change would restart them": func(c *corev1.Container) {
			c.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.RestartContainer}}
		},
		"there is no such container": func(c *corev1.Container) { c.Name = "another" },
	} {
		t.Run(what, func(t *testing.T) {
			watched(t, func(t *testing.T, server *apiServer, _ *Target, _ *lockedBuilder) {
				target, _ := server.target(t, deployment, "server")
				p := readyPod("a")
				change(&p.Spec.Containers[0])
				server.putPod(p)
				resize(t, target, 2)
				expectResizes(t, what, target, control.Resizes{Unsupported: true})
				if patches := server.sent(http.MethodPatch, ""); len(patches) > 0 {
					t.Errorf("sent %v", patches)
				}
			})
		})
	}
}

func TestAPodThatAdmissionRefusesIsInfeasibleAndTheOthersAreNot(t *testing.T) {
	for what, status := range map[string]*metav1.Status{
		"a quota":           failure(403, metav1.StatusReasonForbidden, `pods "a" is forbidden: exceeded quota: cpu, requested: limits.cpu=150m`),
		"a node that can't": failure(422, metav1.StatusReasonInvalid, `Pod "a" is invalid: spec: Forbidden: Pod running on node without support for resize`),
	} {
		t.Run(what, func(t *testing.T) {
			watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
				server.putPod(readyPod("a"))
				server.putPod(readyPod("b"))
				server.answers(func(r request) *metav1.Status {
					if r.path == podsPath+"/a/resize" {
						return status
					}
					return nil
				})
				read(t, target)
				err := target.Resize(context.Background(), 2)
				if err == nil || !strings.Contains(err.Error(), "resizing the pods of deployment headroom/model-server: 1 of 2 failed: pod a: ") {
					t.Errorf("%v", err)
				}
				server.changePod("b", obey)
				expectResizes(t, "refused", target, control.Resizes{Infeasible: 1, Raised: 1})
				server.sent("", "")
				resize(t, target, 2)
				if patches := server.sent(http.MethodPatch, ""); len(patches) > 0 {
					t.Errorf("tried again at once: %v", patches)
				}
			})
		})
	}
}

func TestManyPodsAreResizedABoundedNumberAtATime(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		const count = 40
		for i := range count {
			server.putPod(readyPod(fmt.Sprintf("pod-%d", i)))
		}
		server.answers(func(r request) *metav1.Status {
			if r.method == http.MethodPatch {
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		})
		read(t, target)
		began := time.Now()
		resize(t, target, 2)
		// Two calls a pod, 16 pods at a time: three rounds.
		if took := time.Since(began); took < 600*time.Millisecond || took > time.Second {
			t.Errorf("took %s, want 0.6 s", took)
		}
		for i := range count {
			expectCPU(t, server, fmt.Sprintf("pod-%d", i), "200m/300m 10m/20m")
		}
	})
}

func TestAFactorMustBeOneOrMore(t *testing.T) {
	watched(t, func(t *testing.T, server *apiServer, target *Target, _ *lockedBuilder) {
		server.putPod(readyPod("a"))
		read(t, target)
		for _, factor := range []float64{0.99, 0, -1, math.NaN(), math.Inf(1)} {
			if err := target.Resize(context.Background(), factor); err == nil {
				t.Errorf("factor %g was accepted", factor)
			}
		}
	})
}
