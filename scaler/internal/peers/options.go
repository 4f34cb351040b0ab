// Package peers runs the autoscalers that headroom is compared with, the real
// ones: Kubernetes' HorizontalPodAutoscaler and Knative's. They live in a
// program of their own, upstream, in lockstep with a simulator that is the
// master of time.
package peers

// HPAOptions are the spec of a HorizontalPodAutoscaler and the pods it scales.
// At least one of CPUPercent and QueuePerReplica is above 0; of both, the one
// that wants more replicas decides.
type HPAOptions struct {
	// CPUPercent is the target of CPU utilization, in percent of CPURequest: 0
	// (no such metric) to 1000.
	CPUPercent int `json:"cpuPercent,omitempty"`
	// QueuePerReplica is the target of an external metric's average value, as
	// KEDA sets one: 0 (no such metric) or at least 0.001.
	QueuePerReplica float64 `json:"queuePerReplica,omitempty"`
	// Min and Max bound the replicas: 1 <= Min <= Max <= 100000.
	Min int `json:"min"`
	Max int `json:"max"`
	// Replicas is what the Deployment asks for at the start, 1 to 100000.
	Replicas int `json:"replicas"`
	// CPURequest is what each pod requests, in cores, 0.001 to 1000; needed
	// with CPUPercent.
	CPURequest float64 `json:"cpuRequest,omitempty"`
	// Offset places the controller's instants, in seconds: it acts at Offset,
	// Offset+15, Offset+30, and so on. Above 0 and below 15; 0 means 0.3.
	Offset float64 `json:"offset,omitempty"`
	// BehaviorUnset leaves spec.behavior out, as the API server stores an
	// autoscaler whose author names none: one step then leads to at most 4
	// replicas or twice as many, whichever is more. With the defaults of a
	// behavior it adds at most 4 or doubles.
	BehaviorUnset bool `json:"behaviorUnset,omitempty"`
}

// KPAOptions are Knative's configuration of one revision. A zero takes
// Knative's default where one is named.
type KPAOptions struct {
	// Target is the concurrency per replica to hold, above 0.
	Target float64 `json:"target"`
	// Min and Max bound the replicas: 1 <= Min <= Max <= 100000.
	Min int `json:"min"`
	Max int `json:"max"`
	// Replicas is what is wanted until the first sample, 1 to 100000.
	Replicas int `json:"replicas"`
	// StableWindowSeconds is what scale-in averages over: 6 to 3600, default 60.
	StableWindowSeconds int `json:"stableWindowSeconds,omitempty"`
	// PanicWindowSeconds is what panic averages over: 1 to StableWindowSeconds,
	// default 6.
	PanicWindowSeconds int `json:"panicWindowSeconds,omitempty"`
	// PanicThreshold is the ratio of wanted to ready replicas at which panic
	// begins: 1 to 10, default 2.
	PanicThreshold float64 `json:"panicThreshold,omitempty"`
	// MaxScaleUpRate and MaxScaleDownRate bound one step, as ratios of the ready
	// replicas: above 1 and below 100000, default 1000 and 2.
	MaxScaleUpRate   float64 `json:"maxScaleUpRate,omitempty"`
	MaxScaleDownRate float64 `json:"maxScaleDownRate,omitempty"`
	// ScaleDownDelaySeconds holds each scale-in back: 0 (the default) to 3600.
	ScaleDownDelaySeconds int `json:"scaleDownDelaySeconds,omitempty"`
	// Offset places the ticks, in seconds: Offset, Offset+2, Offset+4, and so
	// on. Above 0 and below 2; 0 means 0.3.
	Offset float64 `json:"offset,omitempty"`
}
