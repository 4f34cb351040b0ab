// Package config reads the scaler's config file. It is strict: every unknown
// key, missing key and value out of range is reported, all of them at once.
package config

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Config is what the file says, defaults filled in, all of it valid.
type Config struct {
	Target     Target
	Prometheus Prometheus
	SLO        SLO
	Replicas   Replicas
	// Tick is the time between decisions.
	Tick     time.Duration
	ScaleOut ScaleOut
	ScaleIn  ScaleIn
	Lease    Lease
	// Listen is the address of /metrics, /healthz and /readyz.
	Listen string
}

// Target is the Deployment that is scaled.
type Target struct{ Namespace, Kind, Name string }

// Prometheus is where the signals are read.
type Prometheus struct {
	URL string
	// Timeout of one query, less than a tick.
	Timeout time.Duration
}

// SLO is the promise: the share Quantile of requests is answered within Latency.
type SLO struct {
	Latency  time.Duration
	Quantile float64
}

// Replicas bounds the count.
type Replicas struct{ Min, Max int }

// ScaleOut bounds what may be planned for.
type ScaleOut struct {
	// Utilization is the highest share of a replica's time that may be planned for.
	Utilization float64
}

// ScaleIn says how slowly replicas are taken away.
type ScaleIn struct {
	Stabilization time.Duration
	Step          int
	Interval      time.Duration
}

// Lease is the Kubernetes Lease that elects the one scaler that writes.
type Lease struct {
	Enabled         bool
	Namespace, Name string
}

// maxFile bounds what is read, in bytes. A config is well under one percent of it.
const maxFile = 1 << 20

// Load reads and checks the file at path. Its error lists every problem, one a
// line, each with the file, the key, the value and what is allowed.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("config file: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("config file: %w", err)
	}
	if len(text) > maxFile {
		return Config{}, fmt.Errorf("%s: larger than the %d bytes allowed", path, maxFile)
	}
	c, problems := Parse(text)
	lines := make([]error, len(problems))
	for i, problem := range problems {
		lines[i] = fmt.Errorf("%s: %s", path, problem)
	}
	return c, errors.Join(lines...)
}

// Parse checks the text of a config file, and returns every problem with it.
func Parse(text []byte) (Config, []string) {
	c := Config{
		Target:     Target{Kind: "Deployment"},
		Prometheus: Prometheus{Timeout: 800 * time.Millisecond},
		SLO:        SLO{Latency: 500 * time.Millisecond, Quantile: 0.99},
		Replicas:   Replicas{Min: 1, Max: 10},
		Tick:       time.Second,
		ScaleOut:   ScaleOut{Utilization: 0.8},
		ScaleIn:    ScaleIn{Stabilization: time.Minute, Step: 1, Interval: 10 * time.Second},
		Lease:      Lease{Enabled: true, Namespace: "headroom", Name: "headroom-scaler"},
		Listen:     ":8002",
	}
	keys := map[string]key{
		"target.namespace":      {name(&c.Target.Namespace), true},
		"target.kind":           {oneOf(&c.Target.Kind, "Deployment"), false},
		"target.name":           {name(&c.Target.Name), true},
		"prometheus.url":        {webURL(&c.Prometheus.URL), true},
		"prometheus.timeout":    {duration(&c.Prometheus.Timeout, 10*time.Millisecond, time.Minute), false},
		"slo.latency":           {duration(&c.SLO.Latency, time.Millisecond, time.Minute), false},
		"slo.quantile":          {number(&c.SLO.Quantile, 0.5, 0.9999), false},
		"replicas.min":          {integer(&c.Replicas.Min, 1, 10_000), false},
		"replicas.max":          {integer(&c.Replicas.Max, 1, 10_000), false},
		"tick":                  {duration(&c.Tick, 100*time.Millisecond, time.Minute), false},
		"scaleOut.utilization":  {number(&c.ScaleOut.Utilization, 0.05, 0.99), false},
		"scaleIn.stabilization": {duration(&c.ScaleIn.Stabilization, 0, time.Hour), false},
		"scaleIn.step":          {integer(&c.ScaleIn.Step, 1, 10_000), false},
		"scaleIn.interval":      {duration(&c.ScaleIn.Interval, 0, time.Hour), false},
		"lease.enabled":         {boolean(&c.Lease.Enabled), false},
		"lease.namespace":       {name(&c.Lease.Namespace), false},
		"lease.name":            {name(&c.Lease.Name), false},
		"listen":                {address(&c.Listen), false},
	}
	r := reader{keys: keys, seen: map[string]bool{}, bad: map[string]bool{}}
	r.read(text)
	r.missing()
	good := func(keys ...string) bool {
		return !slices.ContainsFunc(keys, func(k string) bool { return r.bad[k] })
	}
	if good("replicas.min", "replicas.max") && c.Replicas.Min > c.Replicas.Max {
		r.problem("replicas.min: %d is more than replicas.max, which is %d", c.Replicas.Min, c.Replicas.Max)
	}
	if good("prometheus.timeout", "tick") && c.Prometheus.Timeout >= c.Tick {
		r.problem("prometheus.timeout: %s must be less than tick, which is %s", c.Prometheus.Timeout, c.Tick)
	}
	if len(r.problems) > 0 {
		return Config{}, r.problems
	}
	return c, nil
}

// A key is one that a file may have: how its value is read, and whether it must be there.
type key struct {
	set      func(value string) (allowed string, ok bool)
	required bool
}

type reader struct {
	keys     map[string]key
	seen     map[string]bool
	bad      map[string]bool
	problems []string
}

func (r *reader) problem(format string, args ...any) {
	r.problems = append(r.problems, oneLine(fmt.Sprintf(format, args...)))
}

// oneLine keeps a problem to one line of a bearable length, whatever the file has in it.
func oneLine(s string) string {
	const most = 500
	s = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func (r *reader) read(text []byte) {
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return // an empty file lacks its required keys, which is said
	case err != nil:
		r.notYAML(err)
		return
	}
	switch err := dec.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.notYAML(err)
		return
	default:
		r.problem("line %d: a second YAML document, and one is allowed", more.Line)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return
	}
	r.mapping("", root)
}

func (r *reader) notYAML(err error) {
	r.problem("not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	for k := range r.keys {
		r.seen[k] = true // whether a key is there can't be told
	}
}

func (r *reader) mapping(prefix string, node *yaml.Node) {
	if node.Kind != yaml.MappingNode {
		where := "the file"
		if prefix != "" {
			where = strings.TrimSuffix(prefix, ".")
		}
		r.problem("line %d: %s: must be a mapping with the keys %s", node.Line, where, r.allowed(prefix))
		for k := range r.keys {
			if strings.HasPrefix(k, prefix) {
				r.seen[k], r.bad[k] = true, true
			}
		}
		return
	}
	own := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		k, v := node.Content[i], node.Content[i+1]
		path := prefix + k.Value
		switch field, leaf := r.keys[path]; {
		case own[k.Value]:
			r.problem("line %d: %s: given twice", k.Line, path)
		case leaf:
			r.seen[path] = true
			r.scalar(path, field, v)
		case r.section(path + "."):
			r.mapping(path+".", v)
		default:
			r.problem("line %d: %s: unknown key; allowed here: %s", k.Line, path, r.allowed(prefix))
		}
		own[k.Value] = true
	}
}

func (r *reader) scalar(path string, field key, node *yaml.Node) {
	value, shown := node.Value, node.Value
	switch {
	case node.Kind != yaml.ScalarNode:
		value, shown = "", "a list, mapping or alias"
	case node.Tag == "!!null" || value == "":
		value, shown = "", "nothing"
	}
	if allowed, ok := field.set(value); !ok {
		r.bad[path] = true
		r.problem("line %d: %s: %s is not allowed, must be %s", node.Line, path, shown, allowed)
	}
}

func (r *reader) section(prefix string) bool {
	for k := range r.keys {
		if strings.HasPrefix(k, prefix) {
			return true
		}
	}
	return false
}

// allowed lists the keys directly under a prefix.
func (r *reader) allowed(prefix string) string {
	var names []string
	for k := range r.keys {
		if rest, ok := strings.CutPrefix(k, prefix); ok {
			top, _, _ := strings.Cut(rest, ".")
			names = append(names, top)
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

func (r *reader) missing() {
	var names []string
	for k, field := range r.keys {
		if field.required && !r.seen[k] {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	for _, k := range names {
		allowed, _ := r.keys[k].set("")
		r.problem("%s: missing, must be %s", k, allowed)
	}
}

type setter = func(string) (string, bool)

func duration(to *time.Duration, least, most time.Duration) setter {
	return func(s string) (string, bool) {
		allowed := fmt.Sprintf("a duration from %s to %s, such as 500ms or 2s", least, most)
		d, err := time.ParseDuration(s)
		if err != nil || d < least || d > most {
			return allowed, false
		}
		*to = d
		return allowed, true
	}
}

func integer(to *int, least, most int) setter {
	return func(s string) (string, bool) {
		allowed := fmt.Sprintf("a whole number from %d to %d", least, most)
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return allowed, false
		}
		*to = n
		return allowed, true
	}
}

func number(to *float64, least, most float64) setter {
	return func(s string) (string, bool) {
		allowed := fmt.Sprintf("a number from %g to %g", least, most)
		x, err := strconv.ParseFloat(s, 64)
		if err != nil || !(x >= least && x <= most) {
			return allowed, false
		}
		*to = x
		return allowed, true
	}
}

func boolean(to *bool) setter {
	return func(s string) (string, bool) {
		if s != "true" && s != "false" {
			return "true or false", false
		}
		*to = s == "true"
		return "", true
	}
}

func oneOf(to *string, values ...string) setter {
	return func(s string) (string, bool) {
		if !slices.Contains(values, s) {
			return strings.Join(values, " or "), false
		}
		*to = s
		return "", true
	}
}

// label is RFC 1123's, as Kubernetes wants it for the names used here.
var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

func name(to *string) setter {
	return func(s string) (string, bool) {
		if len(s) > 63 || !label.MatchString(s) {
			return "1 to 63 of a-z, 0-9 and -, with no - at either end", false
		}
		*to = s
		return "1 to 63 of a-z, 0-9 and -, with no - at either end", true
	}
}

func webURL(to *string) setter {
	const allowed = "a URL such as http://prometheus:9090"
	return func(s string) (string, bool) {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
			return allowed, false
		}
		*to = s
		return allowed, true
	}
}

func address(to *string) setter {
	return func(s string) (string, bool) {
		_, port, err := net.SplitHostPort(s)
		if _, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil {
			return "host:port or :port, with a port from 0 (any free one) to 65535", false
		}
		*to = s
		return "", true
	}
}
