// Package protocol is what a simulator and the autoscalers say to each other:
// JSON objects, one a line, each line of the simulator answered by one line.
package protocol

// Request is one line of the simulator; exactly one of its keys is set.
type Request struct {
	Start   *Start       `json:"start,omitempty"`
	Observe *Observation `json:"observe,omitempty"`
	End     *struct{}    `json:"end,omitempty"`
}

// Start begins a session with one autoscaler.
type Start struct {
	HPA *HPA `json:"hpa,omitempty"`
	KPA *KPA `json:"kpa,omitempty"`
}

// HPA is the spec of a HorizontalPodAutoscaler and of the pods it scales. At
// least one of its two metrics is set.
type HPA struct {
	// CPUPercent is the target of CPU utilization, in percent of the request:
	// 0 (no such metric) to 1000.
	CPUPercent int32 `json:"cpuPercent,omitempty"`
	// QueuePerReplica is the target of an external metric's average value, as
	// KEDA sets one: 0 (no such metric) or at least 0.001.
	QueuePerReplica float64 `json:"queuePerReplica,omitempty"`
	// Min and Max bound the replicas: 1 <= Min <= Max <= 100000.
	Min int32 `json:"min"`
	Max int32 `json:"max"`
	// Replicas is what the Deployment asks for at the start, 1 to 100000.
	Replicas int32 `json:"replicas"`
	// CPURequest is what each pod requests, in cores, 0.001 to 1000; needed
	// with CPUPercent.
	CPURequest float64 `json:"cpuRequest,omitempty"`
	// Offset places the controller's instants, in seconds: it acts at Offset,
	// Offset+15, Offset+30, and so on. Above 0 and below 15; 0 means 0.3.
	Offset float64 `json:"offset,omitempty"`
	// BehaviorUnset leaves spec.behavior out, as the API server stores an HPA
	// whose author names none: the controller then limits a scale-out to
	// max(4, twice the replicas), where the defaults of a behavior allow
	// max(4 more, twice as many) in 15 s.
	BehaviorUnset bool `json:"behaviorUnset,omitempty"`
}

// KPA is Knative's configuration of one revision. A zero takes the default
// where one is named, which is Knative's own.
type KPA struct {
	// Target is the concurrency per replica to hold, above 0.
	Target float64 `json:"target"`
	// Min, Max and Replicas are those of HPA.
	Min      int32 `json:"min"`
	Max      int32 `json:"max"`
	Replicas int32 `json:"replicas"`
	// StableWindowSeconds is what scale-in averages over: 6 to 3600, default 60.
	StableWindowSeconds int `json:"stableWindowSeconds,omitempty"`
	// PanicWindowSeconds is what panic averages over: 1 to StableWindowSeconds,
	// default 6.
	PanicWindowSeconds int `json:"panicWindowSeconds,omitempty"`
	// PanicThreshold is the ratio of wanted to ready replicas at which panic
	// begins: 1 to 10, default 2.
	PanicThreshold float64 `json:"panicThreshold,omitempty"`
	// MaxScaleUpRate and MaxScaleDownRate bound one step, as ratios of the ready
	// replicas: above 1 to 100000, default 1000 and 2.
	MaxScaleUpRate   float64 `json:"maxScaleUpRate,omitempty"`
	MaxScaleDownRate float64 `json:"maxScaleDownRate,omitempty"`
	// ScaleDownDelaySeconds holds each scale-in back: 0 (the default) to 3600.
	ScaleDownDelaySeconds int `json:"scaleDownDelaySeconds,omitempty"`
	// Offset places the ticks, in seconds: Offset, Offset+2, Offset+4, and so
	// on. Above 0 and below 2; 0 means 0.3.
	Offset float64 `json:"offset,omitempty"`
}

// Observation is the world from virtual second At on, until the next one.
type Observation struct {
	// At is in seconds since the start: 0 to 1e8, above the one before.
	At float64 `json:"at"`
	// Replicas is how many pods exist, the scale's status.replicas. What the
	// scale's spec asks for is what the autoscaler wrote last.
	Replicas int32 `json:"replicas"`
	// Pods are the pods in groups of alike ones; those being deleted are left
	// out, as the controller ignores them.
	Pods []Pods `json:"pods"`
	// Queue is the external metric's value (HPA).
	Queue float64 `json:"queue,omitempty"`
	// Concurrency is the sum over the replicas of their requests in flight,
	// averaged since the observation before (KPA).
	Concurrency float64 `json:"concurrency,omitempty"`
	// MetricsAt is when the metrics were sampled, in seconds, at most At; left
	// out, it is At.
	MetricsAt *float64 `json:"metricsAt,omitempty"`
	// MetricsWindow is what a sample of CPU was averaged over, in seconds,
	// above 0; left out, it is 15, metrics-server's resolution.
	MetricsWindow float64 `json:"metricsWindow,omitempty"`
}

// Pods is a group of alike pods.
type Pods struct {
	// Count is how many there are, 1 or more.
	Count int `json:"count"`
	// CPU is what the metrics API reports of each, in cores.
	CPU float64 `json:"cpu,omitempty"`
	// Ready says whether their condition Ready is true.
	Ready bool `json:"ready,omitempty"`
	// Pending says that their containers don't run yet.
	Pending bool `json:"pending,omitempty"`
	// Created is when they were started, in seconds; before the start it is
	// negative.
	Created float64 `json:"created"`
	// ReadyAt is when Ready last changed, in seconds, from Created to At; left
	// out, it is Created, as for pods that never were ready.
	ReadyAt *float64 `json:"readyAt,omitempty"`
	// Metrics says whether the metrics API has a sample of them.
	Metrics bool `json:"metrics,omitempty"`
}

// Answer is the line that answers one of the simulator.
type Answer struct {
	// Replicas is what the autoscaler wants, the scale that it wrote last.
	Replicas int `json:"replicas"`
}

// Failure is the answer to a line that can't be served; it is the last one.
type Failure struct {
	Error string `json:"error"`
}
