// Package hpa runs Kubernetes' HorizontalPodAutoscaler controller, the whole of
// it, in the virtual time of a testing/synctest bubble, over a world that a
// simulator describes.
package hpa

import (
	"context"
	"math"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"

	"headroom.dev/scaler/upstream/internal/protocol"
)

// What kube-controller-manager sets without flags.
const (
	syncPeriod             = 15 * time.Second
	downscaleStabilization = 5 * time.Minute
	tolerance              = 0.1
	cpuInitialization      = 5 * time.Minute
	initialReadinessDelay  = 30 * time.Second
)

func init() {
	// The second handler limits the rate of errors by sleeping on a clock that
	// counts from the first error, which in virtual time can be years.
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
	klog.SetLogger(logr.Discard())
}

// Session is one run of the controller.
type Session struct {
	start   time.Time
	world   *world
	cancel  context.CancelFunc
	stopped chan struct{}
}

// Start starts the controller; the caller is the root of a bubble, whose time
// stands at the session's second 0 afterwards.
func Start(o protocol.HPA) *Session {
	ctx, cancel := context.WithCancel(context.Background())
	// The controller acts a sync period after its start, and then each period.
	start := time.Now().Add(syncPeriod)
	s := &Session{
		start:   start,
		world:   newWorld(o, start),
		cancel:  cancel,
		stopped: make(chan struct{}),
	}
	go func() {
		defer close(s.stopped)
		time.Sleep(seconds(o.Offset))
		newController(ctx, s.world).Run(ctx, 1)
	}()
	time.Sleep(syncPeriod)
	return s
}

// Observe lets time pass until o.At in the world as it was, puts the new one in
// place and returns what the controller wrote last.
func (s *Session) Observe(o protocol.Observation) int {
	time.Sleep(time.Until(s.start.Add(seconds(o.At))))
	// What the controller does at this very instant, it does in the old world.
	synctest.Wait()
	return s.world.replace(o)
}

// Stop ends the controller; every goroutine of it is gone or going.
func (s *Session) Stop() {
	s.cancel()
	<-s.stopped
}

func newController(ctx context.Context, w *world) *podautoscaler.HorizontalController {
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{deployments.GroupVersion()})
	mapper.Add(deployments, meta.RESTScopeNamespace)
	stored := &autoscalers{stored: newAutoscaler(w.options)}
	return podautoscaler.NewHorizontalController(ctx,
		events{}, scales{world: w}, autoscalerClient{autoscalers: stored}, mapper, metrics{world: w},
		autoscalerInformer{autoscalers: stored}, podInformer{world: w},
		syncPeriod, downscaleStabilization, tolerance, cpuInitialization, initialReadinessDelay)
}

func seconds(s float64) time.Duration {
	return time.Duration(math.Round(s * float64(time.Second)))
}
