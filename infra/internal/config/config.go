// Package config turns the stack's configuration into one checked value.
//
// Everything that shapes the stack is a plain Go value that is known before
// any resource is made. All mistakes are reported at once, each with the key,
// the value and what is allowed.
package config

import (
	"fmt"
	"io/fs"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"headroom.dev/infra/policy"
)

// Project is the name of the Pulumi project, the namespace of its keys.
const Project = "headroom"

// Scaler says who sets the number of model servers.
type Scaler string

// The scalers.
const (
	ScalerCustom Scaler = "custom" // headroom's own, driven by the latency promise
	ScalerHPA    Scaler = "hpa"    // Kubernetes' HorizontalPodAutoscaler on CPU
	ScalerNone   Scaler = "none"   // nobody: a fixed number
)

// Config is the stack's configuration. Only Load makes one that was checked.
type Config struct {
	Namespace       string // a DNS label
	CreateNamespace bool   // false: the namespace is there already and is left alone
	KubeContext     string // context of the kubeconfig; empty: the current one

	Scaler        Scaler
	HPACPUPercent int // of the CPU request, 1 to 100
	HPABehavior   HPABehavior
	MinReplicas   int // 0 with ScalerCustom, else 1, to 1000, at most MaxReplicas
	MaxReplicas   int // 1 to 1000
	Replicas      int // 1 to 1000, used with ScalerNone only
	Custom        Custom

	SLOLatency time.Duration // 10ms to 60s

	ModelServerCPURequest string // quantity, 10m to 64
	ModelServerCPULimit   string // quantity, 10m to 64, at least the request
	ModelServerMemory     string // quantity, 64Mi to 64Gi, request and limit

	DispatcherReplicas int    // 1 to 20
	BackendConcurrency int    // requests that one replica is sent at a time, 1 to 64
	APIKeysSecret      string // Secret whose key keys.json holds the callers' keys; empty: everybody may call
	Tracing            Tracing

	Redis Redis

	Images          Images
	ImagePullPolicy string // Always, IfNotPresent or Never
	RequireDigests  bool   // true: every image is pinned by its digest

	Availability Availability

	Exposure           Exposure
	ServiceType        string // NodePort, LoadBalancer or ClusterIP
	DispatcherNodePort int    // 30000 to 32767
	PrometheusNodePort int    // 30000 to 32767, another than the dispatcher's
	NodeAddress        string // host name or IP address in the URLs, for NodePort

	ClusterDomain            string // of the cluster's DNS, such as cluster.local
	MetricsServer            bool
	PrometheusScrapeInterval time.Duration // 1s to 60s, with ScalerCustom to 15s, whole milliseconds
	PrometheusRetention      string        // such as 6h or 15d
	Monitoring               Monitoring
	NetworkPolicies          bool
	NetworkPolicyEgress      bool  // true: pods reach nothing but what they need
	APIServerPorts           []int // the Kubernetes API's, wherever it is

	Policy policy.Mode // what becomes of objects that break its rules
}

// Source is the configuration as it was written.
type Source struct {
	Values map[string]string // by full key, such as headroom:scaler
	Secret map[string]bool   // full keys whose value is stored encrypted
}

// Problem is one mistake in the configuration.
type Problem struct {
	Key string // full key
	Is  string // what it is, such as `is "0"`
	Fix string // what is allowed
}

// String gives the problem in one line.
func (p Problem) String() string { return p.Key + " " + p.Is + "; " + p.Fix }

// Problems is every mistake that was found, as one error.
type Problems []Problem

// Error gives one line a problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Load reads and checks the configuration. The images file is looked up in
// root, the project's root folder. The error is of type Problems and holds
// every mistake.
func Load(source Source, root fs.FS) (Config, error) {
	r := newReader(source)
	c, problems := r.load(root)
	if len(problems) > 0 {
		return Config{}, problems
	}
	return c, nil
}

// load reads every key; a problem anywhere makes the Config worthless.
func (r *reader) load(root fs.FS) (Config, Problems) {
	c := Config{
		Namespace:       r.text("namespace", "headroom"),
		CreateNamespace: r.boolean("createNamespace", true),
		KubeContext:     r.text("kubeContext", ""),

		Scaler:        Scaler(r.text("scaler", string(ScalerCustom))),
		HPACPUPercent: r.integer("hpaCpuPercent", 70),
		HPABehavior:   r.hpaBehavior(),
		MinReplicas:   r.integer("minReplicas", 1),
		MaxReplicas:   r.integer("maxReplicas", 10),
		Replicas:      r.integer("replicas", 1),
		Custom:        r.custom(),

		SLOLatency: r.duration("sloLatency", 500*time.Millisecond),

		ModelServerCPURequest: r.text("modelServerCpuRequest", "500m"),
		ModelServerCPULimit:   r.text("modelServerCpuLimit", "1"),
		ModelServerMemory:     r.text("modelServerMemory", "512Mi"),

		DispatcherReplicas: r.integer("dispatcherReplicas", 1),
		BackendConcurrency: r.integer("backendConcurrency", 1),
		APIKeysSecret:      r.text("apiKeysSecret", ""),
		Tracing:            r.tracing(),

		Redis: r.redis(),

		ImagePullPolicy: r.text("imagePullPolicy", "IfNotPresent"),
		RequireDigests:  r.boolean("requireDigests", false),

		Availability: r.availability(),

		Exposure:           r.exposure(),
		ServiceType:        r.text("serviceType", "NodePort"),
		DispatcherNodePort: r.integer("dispatcherNodePort", 30501),
		PrometheusNodePort: r.integer("prometheusNodePort", 30090),
		NodeAddress:        r.text("nodeAddress", "127.0.0.1"),

		ClusterDomain:            r.text("clusterDomain", "cluster.local"),
		MetricsServer:            r.boolean("metricsServer", false),
		PrometheusScrapeInterval: r.duration("prometheusScrapeInterval", time.Second),
		PrometheusRetention:      r.text("prometheusRetention", "6h"),
		Monitoring:               r.monitoring(),
		NetworkPolicies:          r.boolean("networkPolicies", true),
		NetworkPolicyEgress:      r.boolean("networkPolicyEgress", false),
		Policy:                   policy.Mode(r.text("policy", string(policy.Warn))),
		APIServerPorts:           r.integerList("apiServerPorts", []int{443, 6443}),
	}
	c.Images = r.images(root)
	r.strangers()

	problems := slices.Concat(r.problems, c.validate(r.broken))
	slices.SortStableFunc(problems, func(a, b Problem) int { return strings.Compare(a.Key, b.Key) })
	return c, problems
}

// Validate returns every rule that the configuration breaks, or nil.
func (c Config) Validate() Problems { return c.validate(map[string]bool{}) }

var (
	dnsLabel  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	hostName  = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9.]{0,251}[a-zA-Z0-9])?$`)
	domain    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	retention = regexp.MustCompile(`^([1-9][0-9]{0,3})([hdw])$`)
	password  = regexp.MustCompile(`^[!#-&(-\[\]-~]{8,128}$`)
)

// validate skips the keys in broken, which have no value that could be judged.
func (c Config) validate(broken map[string]bool) Problems {
	v := validator{broken: broken}

	v.rule(dnsLabel.MatchString(c.Namespace), "namespace", c.Namespace,
		"must be a DNS label: at most 63 lower-case letters, digits and -, with a letter or digit at both ends")
	v.oneOf("scaler", string(c.Scaler), string(ScalerCustom), string(ScalerHPA), string(ScalerNone))
	v.within("hpaCpuPercent", c.HPACPUPercent, 1, 100)
	v.hpaBehavior(c.HPABehavior)
	v.within("minReplicas", c.MinReplicas, 0, 1000)
	if v.sound("scaler") && c.Scaler != ScalerCustom {
		v.rule(c.MinReplicas >= 1, "minReplicas", strconv.Itoa(c.MinReplicas),
			fmt.Sprintf("must be at least 1 with headroom:scaler %s: only custom can start from zero", c.Scaler))
	}
	v.within("maxReplicas", c.MaxReplicas, 1, 1000)
	v.within("replicas", c.Replicas, 1, 1000)
	if v.sound("minReplicas", "maxReplicas") {
		v.rule(c.MinReplicas <= c.MaxReplicas, "minReplicas", strconv.Itoa(c.MinReplicas),
			fmt.Sprintf("must be at most headroom:maxReplicas, which is %d", c.MaxReplicas))
	}

	v.between("sloLatency", c.SLOLatency, 10*time.Millisecond, time.Minute)
	v.custom(c)

	request := v.quantity("modelServerCpuRequest", c.ModelServerCPURequest, cpuMillis, 10, 64_000,
		"must be CPU cores from 10m to 64, such as 250m or 1.5")
	limit := v.quantity("modelServerCpuLimit", c.ModelServerCPULimit, cpuMillis, 10, 64_000,
		"must be CPU cores from 10m to 64, such as 250m or 1.5")
	if v.sound("modelServerCpuRequest", "modelServerCpuLimit") {
		v.rule(request <= limit, "modelServerCpuRequest", c.ModelServerCPURequest,
			fmt.Sprintf("must be at most headroom:modelServerCpuLimit, which is %q", c.ModelServerCPULimit))
	}
	v.quantity("modelServerMemory", c.ModelServerMemory, memoryBytes, 64<<20, 64<<30,
		"must be memory from 64Mi to 64Gi, such as 512Mi")

	v.within("dispatcherReplicas", c.DispatcherReplicas, 1, 20)
	v.within("backendConcurrency", c.BackendConcurrency, 1, 64)
	v.dispatcher(c)
	v.redis(c)

	v.images(c)
	v.oneOf("imagePullPolicy", c.ImagePullPolicy, "Always", "IfNotPresent", "Never")

	v.oneOf("serviceType", c.ServiceType, "NodePort", "LoadBalancer", "ClusterIP")
	v.within("dispatcherNodePort", c.DispatcherNodePort, 30000, 32767)
	v.within("prometheusNodePort", c.PrometheusNodePort, 30000, 32767)
	if v.sound("dispatcherNodePort", "prometheusNodePort") {
		v.rule(c.DispatcherNodePort != c.PrometheusNodePort, "prometheusNodePort", strconv.Itoa(c.PrometheusNodePort),
			"must be another port than headroom:dispatcherNodePort")
	}
	v.rule(net.ParseIP(c.NodeAddress) != nil || hostName.MatchString(c.NodeAddress), "nodeAddress", c.NodeAddress,
		"must be a host name or an IP address, without a scheme or a port")

	v.exposure(c)
	v.availability(c)

	v.rule(domain.MatchString(c.ClusterDomain), "clusterDomain", c.ClusterDomain,
		"must be a DNS domain in lower case, such as cluster.local")
	v.between("prometheusScrapeInterval", c.PrometheusScrapeInterval, time.Second, time.Minute)
	if v.sound("scaler", "prometheusScrapeInterval") && c.Scaler == ScalerCustom {
		v.rule(c.PrometheusScrapeInterval <= 15*time.Second, "prometheusScrapeInterval", c.PrometheusScrapeInterval.String(),
			"must be at most 15s with headroom:scaler custom, whose rates look back 3 scrapes and more")
	}
	v.rule(retention.MatchString(c.PrometheusRetention), "prometheusRetention", c.PrometheusRetention,
		"must be a whole number from 1 to 9999 and h, d or w, such as 6h or 15d")
	v.monitoring(c)
	v.oneOf("policy", string(c.Policy), string(policy.Off), string(policy.Warn), string(policy.Enforce))
	return v.problems
}

// FromZero tells whether an idle service has no model server at all.
func (c Config) FromZero() bool { return c.Scaler == ScalerCustom && c.MinReplicas == 0 }

// ModelServerMemoryBytes is ModelServerMemory in bytes.
func (c Config) ModelServerMemoryBytes() int64 {
	bytes, _ := memoryBytes(c.ModelServerMemory)
	return bytes
}

// validator collects the rules that are broken, at most one a key.
type validator struct {
	broken   map[string]bool
	problems Problems
}

func (v *validator) sound(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(key string) bool { return v.broken[key] })
}

func (v *validator) rule(holds bool, key, value, fix string) {
	if holds || v.broken[key] {
		return
	}
	v.broken[key] = true
	v.problems = append(v.problems, Problem{Project + ":" + key, fmt.Sprintf("is %q", value), fix})
}

func (v *validator) within(key string, value, lowest, highest int) {
	v.rule(lowest <= value && value <= highest, key, strconv.Itoa(value), wholeNumber(lowest, highest))
}

func (v *validator) between(key string, value, shortest, longest time.Duration) {
	fits := shortest <= value && value <= longest && value%time.Millisecond == 0
	v.rule(fits, key, value.String(),
		fmt.Sprintf("must be a duration in whole milliseconds from %v to %v, such as 1.5s", shortest, longest))
}

func (v *validator) seconds(key string, value, shortest, longest time.Duration) {
	fits := shortest <= value && value <= longest && value%time.Second == 0
	v.rule(fits, key, value.String(), fmt.Sprintf("must be a duration in whole seconds from %v to %v", shortest, longest))
}

func (v *validator) oneOf(key, value string, allowed ...string) {
	v.rule(slices.Contains(allowed, value), key, value, "must be one of "+strings.Join(allowed, ", "))
}

func (v *validator) quantity(key, value string, parse func(string) (int64, bool), lowest, highest int64, fix string) int64 {
	amount, ok := parse(value)
	v.rule(ok && lowest <= amount && amount <= highest, key, value, fix)
	return amount
}

func wholeNumber(lowest, highest int) string {
	return fmt.Sprintf("must be a whole number from %d to %d", lowest, highest)
}
