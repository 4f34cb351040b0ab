package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// reader turns written values into typed ones and collects those that can't be.
type reader struct {
	source   Source
	known    map[string]bool // every key that was asked for
	broken   map[string]bool // keys whose value has no meaning
	problems Problems
}

func newReader(source Source) *reader {
	return &reader{source: source, known: map[string]bool{}, broken: map[string]bool{}}
}

// lookup returns what was written under the key; an empty value counts as none,
// because Pulumi.yaml needs a default for every optional key.
func (r *reader) lookup(key string) (string, bool) {
	r.known[key] = true
	value := r.source.Values[Project+":"+key]
	return value, value != ""
}

func (r *reader) fail(key, is, fix string) {
	r.broken[key] = true
	r.problems = append(r.problems, Problem{Project + ":" + key, is, fix})
}

func (r *reader) text(key, fallback string) string {
	if value, ok := r.lookup(key); ok {
		return value
	}
	return fallback
}

func (r *reader) boolean(key string, fallback bool) bool {
	value, ok := r.lookup(key)
	if !ok {
		return fallback
	}
	if value != "true" && value != "false" {
		r.fail(key, fmt.Sprintf("is %q", value), "must be true or false")
		return fallback
	}
	return value == "true"
}

func (r *reader) integer(key string, fallback int) int {
	value, ok := r.lookup(key)
	if !ok {
		return fallback
	}
	number, err := strconv.Atoi(value)
	if err != nil {
		r.fail(key, fmt.Sprintf("is %q", value), "must be a whole number")
		return fallback
	}
	return number
}

func (r *reader) number(key string, fallback float64) float64 {
	value, ok := r.lookup(key)
	if !ok {
		return fallback
	}
	number, err := strconv.ParseFloat(value, 64)
	if err != nil {
		r.fail(key, fmt.Sprintf("is %q", value), "must be a number")
		return fallback
	}
	return number
}

func (r *reader) duration(key string, fallback time.Duration) time.Duration {
	if value, ok := r.lookup(key); ok {
		return r.parseDuration(key, value, fallback)
	}
	return fallback
}

func (r *reader) parseDuration(key, value string, fallback time.Duration) time.Duration {
	duration, err := time.ParseDuration(value)
	if err != nil {
		r.fail(key, fmt.Sprintf("is %q", value), "must be a duration with its unit, such as 500ms or 2s")
		return fallback
	}
	return duration
}

// secrecy refuses a password that lies in the stack's file in clear text.
func (r *reader) secrecy(key string) {
	if _, ok := r.lookup(key); ok && !r.source.Secret[Project+":"+key] {
		r.fail(key, "is stored in clear text", "set it with: pulumi config set --secret "+key)
	}
}

// strangers refuses keys that nothing reads: a typing error, or a setting of
// the default provider, which this program doesn't use.
func (r *reader) strangers() {
	for full := range r.source.Values {
		namespace, key, _ := strings.Cut(full, ":")
		switch {
		case namespace == Project && !r.known[key]:
			r.problems = append(r.problems, Problem{full, "is not a key of this project", "Pulumi.yaml lists all keys" + r.nearest(key)})
		case namespace == "kubernetes":
			r.problems = append(r.problems, Problem{full, "has no effect here",
				"headroom:kubeContext names the cluster, and the KUBECONFIG environment variable the kubeconfig"})
		}
	}
}

// nearest suggests the known keys that differ from the key in case only or
// that one of the two begins with.
func (r *reader) nearest(key string) string {
	var near []string
	lower := strings.ToLower(key)
	for known := range r.known {
		other := strings.ToLower(known)
		if strings.HasPrefix(other, lower) || strings.HasPrefix(lower, other) {
			near = append(near, known)
		}
	}
	if len(near) == 0 {
		return ""
	}
	slices.Sort(near)
	return ", is it " + strings.Join(near, " or ") + "?"
}
