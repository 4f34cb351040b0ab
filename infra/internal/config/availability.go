package config

import (
	"fmt"
	"maps"
	"regexp"
	"strconv"
)

// How hard a wish about where pods run is.
const (
	SpreadNone      = "none"
	SpreadPreferred = "preferred" // a pod for which there is no such place goes elsewhere
	SpreadRequired  = "required"  // it waits for one
)

// Availability says what keeps the service up while nodes come, go and fail,
// and what it may take of the cluster.
type Availability struct {
	DisruptionBudgets         bool
	ModelServerMaxUnavailable string // model servers that a drain may take at a time: 1 to 1000, or 1% to 100%

	TopologySpread string // of a component's pods over zones and nodes: SpreadNone, SpreadPreferred or SpreadRequired
	AntiAffinity   string // of a component's pods on one node: the same; never required of model servers

	PriorityClass           string // of all pods but metrics-server's; empty: the cluster's default
	ModelServerNodeSelector map[string]string
	ModelServerTolerations  []Toleration

	Quota      Quota
	LimitRange bool // true: containers in the namespace that state no size get a small one
}

// Toleration lets a pod run on nodes with a taint.
type Toleration struct {
	Key      string // empty: every taint, with operator Exists
	Operator string // Equal or Exists
	Value    string // with Equal
	Effect   string // NoSchedule, PreferNoSchedule, NoExecute; empty: all of them
}

// Quota is the most that the pods of the namespace may ask for, together. What
// is empty, or 0, has no bound.
type Quota struct {
	CPURequests, CPULimits       string // quantities, 1 to 100000 cores
	MemoryRequests, MemoryLimits string // quantities, 1Gi to 1000000Gi
	Pods                         int    // 1 to 100000
}

// Set tells whether anything is bounded.
func (q Quota) Set() bool { return q != Quota{} }

// Hard is the quota by the names of a ResourceQuota.
func (q Quota) Hard() map[string]string {
	hard := map[string]string{
		"requests.cpu": q.CPURequests, "limits.cpu": q.CPULimits,
		"requests.memory": q.MemoryRequests, "limits.memory": q.MemoryLimits,
	}
	if q.Pods > 0 {
		hard["pods"] = strconv.Itoa(q.Pods)
	}
	maps.DeleteFunc(hard, func(_, bound string) bool { return bound == "" })
	return hard
}

const tolerationsKey = "modelServerTolerations"

func (r *reader) availability() Availability {
	return Availability{
		DisruptionBudgets:         r.boolean("podDisruptionBudgets", true),
		ModelServerMaxUnavailable: r.text("modelServerMaxUnavailable", "1"),

		TopologySpread: r.text("topologySpread", SpreadPreferred),
		AntiAffinity:   r.text("antiAffinity", SpreadPreferred),

		PriorityClass:           r.text("priorityClass", ""),
		ModelServerNodeSelector: r.textMap("modelServerNodeSelector"),
		ModelServerTolerations:  r.tolerations(),

		Quota: Quota{
			CPURequests: r.text("quotaCpuRequests", ""), CPULimits: r.text("quotaCpuLimits", ""),
			MemoryRequests: r.text("quotaMemoryRequests", ""), MemoryLimits: r.text("quotaMemoryLimits", ""),
			Pods: r.integer("quotaPods", 0),
		},
		LimitRange: r.boolean("limitRange", false),
	}
}

func (r *reader) tolerations() []Toleration {
	var written []struct {
		Key, Operator, Effect string
		Value                 scalar
	}
	if !r.decode(tolerationsKey, "a list of {key, operator, value, effect}", &written) {
		return nil
	}
	var tolerations []Toleration
	for _, w := range written {
		if w.Operator == "" {
			w.Operator = "Equal"
		}
		tolerations = append(tolerations, Toleration{Key: w.Key, Operator: w.Operator, Value: string(w.Value), Effect: w.Effect})
	}
	return tolerations
}

var (
	budget       = regexp.MustCompile(`^([1-9][0-9]{0,2}|1000|([1-9][0-9]?|100)%)$`)
	labelKey     = regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
	labelValue   = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`)
	labelKeyRule = "must be a key as Kubernetes has them, such as example.com/pool"
)

func (v *validator) availability(c Config) {
	a := c.Availability
	v.rule(budget.MatchString(a.ModelServerMaxUnavailable), "modelServerMaxUnavailable", a.ModelServerMaxUnavailable,
		"must be a whole number from 1 to 1000, or from 1% to 100%")
	v.oneOf("topologySpread", a.TopologySpread, SpreadNone, SpreadPreferred, SpreadRequired)
	v.oneOf("antiAffinity", a.AntiAffinity, SpreadNone, SpreadPreferred, SpreadRequired)
	v.rule(a.PriorityClass == "" || isObjectName(a.PriorityClass), "priorityClass", a.PriorityClass,
		"must be the name of a PriorityClass: lower-case letters, digits, - and .")
	v.labels("modelServerNodeSelector", a.ModelServerNodeSelector)
	for i, t := range a.ModelServerTolerations {
		v.toleration(item(tolerationsKey, i), t)
	}
	v.quotas(c)
	v.rule(!a.LimitRange || c.CreateNamespace, "limitRange", "true",
		"must be false with headroom:createNamespace false: the namespace is somebody else's")
}

func (v *validator) toleration(key string, t Toleration) {
	v.oneOf(key+".operator", t.Operator, "Equal", "Exists")
	v.rule(t.Key == "" || labelKey.MatchString(t.Key), key+".key", t.Key, labelKeyRule)
	v.rule(t.Key != "" || t.Operator == "Exists", key+".key", t.Key, "must be set with operator Equal")
	v.rule(labelValue.MatchString(t.Value), key+".value", t.Value, "must be at most 63 letters, digits, -, _ and .")
	v.rule(t.Value == "" || t.Operator == "Equal", key+".value", t.Value, "must be empty with operator Exists")
	if t.Effect != "" {
		v.oneOf(key+".effect", t.Effect, "NoSchedule", "PreferNoSchedule", "NoExecute")
	}
}

// quotas has each bound hold at least all the model servers that there may be:
// one that a scaler orders and the quota refuses would never come.
func (v *validator) quotas(c Config) {
	const (
		cores  = "must be CPU cores from 1 to 100000, such as 20"
		memory = "must be memory from 1Gi to 1000000Gi, such as 32Gi"
		others = "with headroom:createNamespace false: the namespace is somebody else's"
	)
	q := c.Availability.Quota
	most, mostKey := c.MaxReplicas, "maxReplicas"
	if c.Scaler == ScalerNone {
		most, mostKey = c.Replicas, "replicas"
	}
	most++
	reason := fmt.Sprintf("headroom:%s and one more, for a rollout", mostKey)

	for _, b := range []struct {
		key, value      string
		parse           func(string) (int64, bool)
		lowest, highest int64
		fix             string
		sizeKey, size   string
	}{
		{"quotaCpuRequests", q.CPURequests, cpuMillis, 1_000, 100_000_000, cores, "modelServerCpuRequest", c.ModelServerCPURequest},
		{"quotaCpuLimits", q.CPULimits, cpuMillis, 1_000, 100_000_000, cores, "modelServerCpuLimit", c.ModelServerCPULimit},
		{"quotaMemoryRequests", q.MemoryRequests, memoryBytes, 1 << 30, 1_000_000 << 30, memory, "modelServerMemory", c.ModelServerMemory},
		{"quotaMemoryLimits", q.MemoryLimits, memoryBytes, 1 << 30, 1_000_000 << 30, memory, "modelServerMemory", c.ModelServerMemory},
	} {
		if b.value == "" {
			continue
		}
		amount := v.quantity(b.key, b.value, b.parse, b.lowest, b.highest, b.fix)
		v.rule(c.CreateNamespace, b.key, b.value, "must be empty "+others)
		if v.sound(b.key, b.sizeKey, mostKey, "scaler") {
			one, _ := b.parse(b.size)
			v.rule(amount >= one*int64(most), b.key, b.value, fmt.Sprintf("must hold %d model servers of %s each: %s", most, b.size, reason))
		}
	}
	if q.Pods != 0 {
		v.within("quotaPods", q.Pods, 1, 100_000)
		v.rule(c.CreateNamespace, "quotaPods", strconv.Itoa(q.Pods), "must be 0 "+others)
		if v.sound(mostKey, "scaler") {
			v.rule(q.Pods >= most, "quotaPods", strconv.Itoa(q.Pods), fmt.Sprintf("must hold %d model servers: %s", most, reason))
		}
	}
}

// isObjectName tells whether a Kubernetes object can have the name: a DNS
// subdomain.
func isObjectName(name string) bool { return len(name) <= 253 && domain.MatchString(name) }
