package stack

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"headroom.dev/infra/internal/config"
)

// shaping are the values of each key that change which objects there are, or
// which parts they have. Keys that are true or false, or one of a few words, are
// found by themselves.
var shaping = map[string][]string{
	"minReplicas":        {"1", "0"},
	"scalerReplicas":     {"2", "1"},
	"bridgeCeiling":      {"1", "1.5"},
	"fallbackAfter":      {"0s", "10m"},
	"schedules":          {"", `[{"name":"daily","cron":"0 8 * * *","duration":"90m","floor":4}]`},
	"dispatcherReplicas": {"1", "3"},
	"apiKeysSecret":      {"", "api-keys"},
	"otlpEndpoint":       {"", "http://collector.observability.svc:4318"},
	"otlpHeadersSecret":  {"", "otlp"},

	"exposureHost":       {"", "headroom.example.com"},
	"ingressClass":       {"", "nginx"},
	"ingressTlsSecret":   {"", "certificate"},
	"ingressAnnotations": {"", `{"example.com/body":"16m"}`},
	"gatewayName":        {"", "public"},
	"gatewayNamespace":   {"", "gateways"},
	"gatewayListener":    {"", "https"},
	"gatewayTimeout":     {"", "75s"},
	"clientNamespaces":   {"", `["ingress-nginx"]`},

	"prometheusUrl":          {"", "http://prometheus-operated.monitoring.svc:9090"},
	"prometheusStorage":      {"", "50Gi"},
	"prometheusStorageClass": {"", "fast"},
	"alertmanagerUrl":        {"", "http://alertmanager-operated.monitoring.svc:9093"},
	"monitorLabels":          {"", `{"release":"kube-prometheus-stack"}`},

	"redisReplicas":       {"0", "1", "2"},
	"redisStorage":        {"", "8Gi"},
	"redisStorageClass":   {"", "fast"},
	"redisTlsSecret":      {"", "redis-tls"},
	"redisExporterImage":  {"", "oliver006/redis_exporter:v1.67.0"},
	"redisUrl":            {"", "rediss://redis.example.com:6380/0", "redis://sentinel:26379/0?master_name=queue", "redis://host:6379?addr=host2:6379"},
	"redisPasswordSecret": {"", "redis-password"},
	"redisPassword":       {"", "given-by-hand"},
	"redisSecondPassword": {"", "given-before-it"},

	"priorityClass":           {"", "serving"},
	"modelServerNodeSelector": {"", `{"example.com/pool":"inference"}`},
	"modelServerTolerations":  {"", `[{"key":"example.com/pool","value":"inference","effect":"NoSchedule"}]`},
	"quotaCpuRequests":        {"", "100"},
	"quotaCpuLimits":          {"", "100"},
	"quotaMemoryRequests":     {"", "100Gi"},
	"quotaMemoryLimits":       {"", "100Gi"},
	"quotaPods":               {"0", "100"},
}

// plainValues change what is written into a place that there is in any case, or
// which image runs there. requireDigests forbids, and shapes nothing.
var plainValues = strings.Fields(`
	namespace kubeContext hpaCpuPercent maxReplicas replicas scaleInStabilization idleAfter coldStartAllowance fallbackReplicas
	hpaScaleUpStabilization hpaScaleUpPercent hpaScaleUpPods hpaScaleUpPeriod hpaScaleDownStabilization hpaScaleDownPercent hpaScaleDownPods hpaScaleDownPeriod
	sloLatency modelServerCpuRequest modelServerCpuLimit modelServerMemory backendConcurrency traceSampleRatio
	imagesFile modelServerImage dispatcherImage scalerImage redisImage prometheusImage metricsServerImage grafanaImage requireDigests imagePullPolicy
	dispatcherNodePort prometheusNodePort nodeAddress clusterDomain prometheusScrapeInterval prometheusRetention prometheusRetentionSize
	monitoringNamespace runbookUrl dashboardLabels redisMaxMemory modelServerMaxUnavailable apiServerPorts policy`)

// dimension is a key and the values that it takes in the shapes, its default
// first.
type dimension struct {
	key    string
	values []string
}

// dimensions are those of every declared key: one that says neither how it
// shapes the stack nor that it doesn't fails the test.
func dimensions(t *testing.T) []dimension {
	t.Helper()
	content, err := os.ReadFile("../../../Pulumi.yaml")
	require.NoError(t, err)
	var declared struct {
		Config map[string]struct {
			Type    string
			Default any
		}
	}
	require.NoError(t, yaml.Unmarshal(content, &declared))
	oneOf := words(t, slices.Collect(maps.Keys(declared.Config)))
	var all []dimension
	for _, full := range slices.Sorted(maps.Keys(declared.Config)) {
		key := strings.TrimPrefix(full, "headroom:")
		switch values, listed := shaping[key]; {
		case slices.Contains(plainValues, key):
		case listed:
			all = append(all, dimension{key, values})
		case declared.Config[full].Type == "boolean":
			first := fmt.Sprint(declared.Config[full].Default)
			all = append(all, dimension{key, []string{first, map[string]string{"true": "false", "false": "true"}[first]}})
		case oneOf[key] != nil:
			all = append(all, dimension{key, oneOf[key]})
		default:
			require.Fail(t, "no shape has the key "+key, "name the values that change the stack's structure in shaping, or the key in plainValues")
		}
	}
	return all
}

// words are the values that the configuration's own rules list, by key.
func words(t *testing.T, fulls []string) map[string][]string {
	t.Helper()
	source := config.Source{Values: map[string]string{}}
	for _, full := range fulls {
		source.Values[full] = "?"
	}
	_, err := config.Load(source, nothing)
	var problems config.Problems
	require.ErrorAs(t, err, &problems)
	found := map[string][]string{}
	for _, p := range problems {
		if list, ok := strings.CutPrefix(p.Fix, "must be one of "); ok {
			found[strings.TrimPrefix(p.Key, "headroom:")] = strings.Split(list, ", ")
		}
	}
	return found
}

// pair is two values that a shape has together.
type pair struct{ a, b setting }

type setting struct{ key, value string }

func pairsOf(shape map[string]string) []pair {
	keys := slices.Sorted(maps.Keys(shape))
	var all []pair
	for i, a := range keys {
		for _, b := range keys[i+1:] {
			all = append(all, pair{setting{a, shape[a]}, setting{b, shape[b]}})
		}
	}
	return all
}

// chooser makes shapes that the configuration allows.
type chooser struct {
	dimensions []dimension
	random     *rand.Rand
}

func (c chooser) value(key string) string {
	for _, d := range c.dimensions {
		if d.key == key {
			return d.values[c.random.IntN(len(d.values))]
		}
	}
	return ""
}

var otherKey = regexp.MustCompile(`headroom:([A-Za-z]+)`)

// shape has the fixed values and any others that go with them; nil where none
// were found.
func (c chooser) shape(fixed ...setting) map[string]string {
	shape := map[string]string{}
	for _, d := range c.dimensions {
		shape[d.key] = d.values[0]
		if c.random.IntN(2) == 0 {
			shape[d.key] = c.value(d.key)
		}
	}
	isFixed := func(key string) bool { return slices.ContainsFunc(fixed, func(s setting) bool { return s.key == key }) }
	for _, s := range fixed {
		shape[s.key] = s.value
	}
	for range 100 {
		_, err := load(slices.Collect(written(shape))...)
		var problems config.Problems
		if !errors.As(err, &problems) {
			return shape
		}
		// A problem is of a key and of those that its fix names: one of them has to change.
		p := problems[c.random.IntN(len(problems))]
		keys := []string{strings.TrimPrefix(p.Key, "headroom:")}
		for _, match := range otherKey.FindAllStringSubmatch(p.Fix, -1) {
			keys = append(keys, match[1])
		}
		keys = slices.DeleteFunc(keys, func(key string) bool { _, chosen := shape[key]; return !chosen || isFixed(key) })
		if len(keys) == 0 {
			return nil
		}
		key := keys[c.random.IntN(len(keys))]
		shape[key] = c.value(key)
	}
	return nil
}

// written gives the settings as build takes them.
func written(shape map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, key := range slices.Sorted(maps.Keys(shape)) {
			if !yield(key + "=" + shape[key]) {
				return
			}
		}
	}
}

// shapes hold every value of every dimension, and every two values together that
// the configuration allows together. They are the same in every run.
func shapes(t *testing.T) []map[string]string {
	t.Helper()
	c := chooser{dimensions(t), rand.New(rand.NewPCG(1, 2))}
	open := map[pair]bool{}
	for i, a := range c.dimensions {
		for _, b := range c.dimensions[i+1:] {
			for _, one := range a.values {
				for _, other := range b.values {
					open[pair{setting{a.key, one}, setting{b.key, other}}] = true
				}
			}
		}
	}
	all := len(open)
	var chosen []map[string]string
	take := func(shape map[string]string) {
		chosen = append(chosen, shape)
		for _, p := range pairsOf(shape) {
			delete(open, p)
		}
	}
	news := func(shape map[string]string) (count int) {
		for _, p := range pairsOf(shape) {
			if open[p] {
				count++
			}
		}
		return count
	}
	for {
		var best map[string]string
		most := 0
		for range 20 {
			if shape := c.shape(); shape != nil && news(shape) > most {
				best, most = shape, news(shape)
			}
		}
		if most < 30 {
			break // chance finds no more; the rest is looked for
		}
		take(best)
	}
	order := slices.SortedFunc(maps.Keys(open), func(a, b pair) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	apart := 0
	for _, p := range order {
		if !open[p] {
			continue
		}
		var shape map[string]string
		for range 10 {
			if shape = c.shape(p.a, p.b); shape != nil {
				break
			}
		}
		if shape == nil {
			apart++
			continue
		}
		take(shape)
	}
	seen := map[setting]bool{}
	for _, shape := range chosen {
		for key, value := range shape {
			seen[setting{key, value}] = true
		}
	}
	for _, d := range c.dimensions {
		for _, value := range d.values {
			require.True(t, seen[setting{d.key, value}], "no shape has %s=%s: name a value that is allowed", d.key, value)
		}
	}
	t.Logf("%d shapes hold %d of %d pairs; %d pairs are not allowed", len(chosen), all-apart, all, apart)
	return chosen
}

// everyShape builds the stack in all shapes. The settings are those that aren't
// the default too.
func everyShape(t *testing.T, check func(t *testing.T, settings map[string]string, b built)) {
	t.Helper()
	for i, shape := range shapes(t) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			settings := slices.Collect(written(shape))
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the shape: %q", settings)
				}
			})
			check(t, shape, build(t, settings...))
		})
	}
}
