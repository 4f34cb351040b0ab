// Package compare plays scalers side by side through the same scenarios: headroom's
// policy, the real HPA and KPA, and the bounds that nothing real can pass.
package compare

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"headroom.dev/scaler/internal/policy"
)

type kind int

const (
	headroom kind = iota
	hpaCPU
	hpaQueue
	kpa
	fixed
	clairvoyant
	oracle
)

// The names of the policies that others are judged by.
const (
	Headroom    = "headroom"
	Clairvoyant = "clairvoyant"
	Oracle      = "oracle"
)

// Policy is one way to scale.
type Policy struct {
	// Name is what the policy is called in results.
	Name string

	kind    kind
	number  float64       // what the name ends with; for an oracle replica-seconds, 0 for headroom's
	zeroLag bool          // an HPA that sees the last second's CPU
	change  configuration // on headroom's settings
}

// configuration changes headroom's settings.
type configuration func(*policy.Config)

const (
	bridgeCeiling = 2.0
	// queuePerSlot is the target of hpa-queue: so many requests for each slot of a
	// replica, waiting or being worked on.
	queuePerSlot = 2.0
	// kpaPercent is Knative's own share of the slots that is aimed at.
	kpaPercent = 70.0
	maxFixed   = 100_000
)

const allowedPolicies = "headroom, headroom-bridge, hpaN and hpaN-zerolag (N % of the CPU request, 1 to 1000), hpa-queue, kpa, kpaN (N % of the slots, 1 to 100), fixedN (1 to 100000), clairvoyant, oracle"

// Names are the policies of a list separated by commas.
func Names(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// Parse makes policies of their names:
//
//   - headroom, and headroom-bridge, which gives ready replicas up to twice their CPU
//     while others start;
//   - hpaN: the HPA at N % of the CPU request; hpaN-zerolag sees the last second's
//     CPU at once;
//   - hpa-queue: the HPA on two requests, waiting or in work, for each slot, as KEDA
//     feeds it;
//   - kpa, kpaN: Knative's autoscaler at a concurrency of 70, or N, % of the slots;
//   - fixedN: N replicas;
//   - clairvoyant: about the cheapest without avoidable violations;
//   - oracle: the best that knows the true rate, but not the future, and costs no
//     more than headroom.
//
// Errors are one line with the name and what is allowed.
func Parse(names []string) ([]Policy, error) {
	if len(names) == 0 {
		return nil, fmt.Errorf("no policy; allowed are %s", allowedPolicies)
	}
	out := make([]Policy, 0, len(names))
	for _, name := range names {
		p, ok := parse(name)
		if !ok {
			return nil, fmt.Errorf("%q; allowed are %s", name, allowedPolicies)
		}
		if slices.ContainsFunc(out, func(o Policy) bool { return o.Name == name }) {
			return nil, fmt.Errorf("%q comes twice; allowed is each once", name)
		}
		out = append(out, p)
	}
	return out, nil
}

func parse(name string) (Policy, bool) {
	switch name {
	case Headroom:
		return Policy{Name: name, kind: headroom}, true
	case "headroom-bridge":
		return Policy{Name: name, kind: headroom, change: func(c *policy.Config) { c.Bridge.Ceiling = bridgeCeiling }}, true
	case "hpa-queue":
		return Policy{Name: name, kind: hpaQueue}, true
	case "kpa":
		return Policy{Name: name, kind: kpa, number: kpaPercent}, true
	case Clairvoyant:
		return Policy{Name: name, kind: clairvoyant}, true
	case Oracle:
		return Policy{Name: name, kind: oracle}, true
	}
	families := []struct {
		prefix, suffix string
		most           int
		policy         Policy
	}{
		{"hpa", "-zerolag", 1000, Policy{kind: hpaCPU, zeroLag: true}},
		{"hpa", "", 1000, Policy{kind: hpaCPU}},
		{"kpa", "", 100, Policy{kind: kpa}},
		{"fixed", "", maxFixed, Policy{kind: fixed}},
	}
	for _, f := range families {
		digits, begins := strings.CutPrefix(name, f.prefix)
		digits, ends := strings.CutSuffix(digits, f.suffix)
		n, err := strconv.Atoi(digits)
		if begins && ends && err == nil && n >= 1 && n <= f.most && strconv.Itoa(n) == digits {
			f.policy.Name, f.policy.number = name, float64(n)
			return f.policy, true
		}
	}
	return Policy{}, false
}

// peer tells whether the policy is a real autoscaler of others.
func (p Policy) peer() bool { return p.kind == hpaCPU || p.kind == hpaQueue || p.kind == kpa }

// NeedsUpstream tells whether one of the policies is played by the program upstream.
func NeedsUpstream(policies []Policy) bool { return slices.ContainsFunc(policies, Policy.peer) }

// at names a variant of headroom with another utilization or stabilization.
func at(name string, change configuration) Policy {
	return Policy{Name: name, kind: headroom, change: change}
}

func utilization(share float64) Policy {
	return at(fmt.Sprintf("headroom at %.0f %%", 100*share), func(c *policy.Config) { c.Utilization = share })
}

func stabilization(d time.Duration) Policy {
	return at(fmt.Sprintf("headroom at %s", d), func(c *policy.Config) { c.ScaleIn.Stabilization = d })
}
