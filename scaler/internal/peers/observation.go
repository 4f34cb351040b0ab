package peers

// Observation is the world from virtual second At on, until the next one.
type Observation struct {
	// At is in seconds since the session's start: 0 to 1e8, above the one before.
	At float64 `json:"at"`
	// Replicas is how many pods exist, the scale's status.replicas. What the
	// scale's spec asks for is what the autoscaler wanted last.
	Replicas int `json:"replicas"`
	// Pods are the pods in groups of alike ones; those being deleted are left
	// out, as autoscalers ignore them.
	Pods []Pods `json:"pods"`
	// Queue is the external metric's value (HPA with QueuePerReplica).
	Queue float64 `json:"queue,omitempty"`
	// Concurrency is the sum over the replicas of their requests in flight,
	// averaged since the observation before (KPA).
	Concurrency float64 `json:"concurrency,omitempty"`
	// MetricsAt is when the metrics API sampled CPU, in seconds, at most At (HPA
	// with CPUPercent): how far its samples lag is the simulator's to model.
	MetricsAt float64 `json:"metricsAt"`
	// MetricsWindow is what a sample was averaged over, in seconds; 0 means 15,
	// metrics-server's resolution.
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
	// Pending says that their containers don't run yet; such pods are neither
	// ready nor measured.
	Pending bool `json:"pending,omitempty"`
	// Created is when they were started, in seconds; before the session's start
	// it is negative.
	Created float64 `json:"created"`
	// ReadyAt is when Ready last changed, in seconds, from Created to At; for
	// pods that never were ready it is Created.
	ReadyAt float64 `json:"readyAt"`
	// Metrics says whether the metrics API has a sample of them.
	Metrics bool `json:"metrics,omitempty"`
}
