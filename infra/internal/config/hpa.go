package config

import (
	"strconv"
	"time"
)

// HPABehavior says how fast Kubernetes' HorizontalPodAutoscaler may go.
type HPABehavior struct{ Up, Down HPARules }

// HPARules bound the steps of one direction.
type HPARules struct {
	Stabilization time.Duration // how long the most cautious wish counts, 0s to 1h, whole seconds
	Percent, Pods int           // most that is added or removed in Period, 0 to 10000 and 0 to 1000; 0: not bounded by this one
	Period        time.Duration // 1s to 30m, whole seconds
	Select        string        // of the two bounds: Max, Min; or Disabled: no step at all
}

// KubernetesHPABehavior is what an autoscaler does that says nothing of its own.
func KubernetesHPABehavior() HPABehavior {
	return HPABehavior{
		Up:   HPARules{Percent: 100, Pods: 4, Period: 15 * time.Second, Select: "Max"},
		Down: HPARules{Stabilization: 5 * time.Minute, Percent: 100, Period: 15 * time.Second, Select: "Max"},
	}
}

func (r *reader) hpaBehavior() HPABehavior {
	usual := KubernetesHPABehavior()
	rules := func(direction string, usual HPARules) HPARules {
		return HPARules{
			Stabilization: r.duration(direction+"Stabilization", usual.Stabilization),
			Percent:       r.integer(direction+"Percent", usual.Percent),
			Pods:          r.integer(direction+"Pods", usual.Pods),
			Period:        r.duration(direction+"Period", usual.Period),
			Select:        r.text(direction+"Select", usual.Select),
		}
	}
	return HPABehavior{Up: rules("hpaScaleUp", usual.Up), Down: rules("hpaScaleDown", usual.Down)}
}

func (v *validator) hpaBehavior(b HPABehavior) {
	for _, direction := range []struct {
		key   string
		rules HPARules
	}{{"hpaScaleUp", b.Up}, {"hpaScaleDown", b.Down}} {
		key, rules := direction.key, direction.rules
		v.seconds(key+"Stabilization", rules.Stabilization, 0, time.Hour)
		v.within(key+"Percent", rules.Percent, 0, 10_000)
		v.within(key+"Pods", rules.Pods, 0, 1000)
		v.seconds(key+"Period", rules.Period, time.Second, 30*time.Minute)
		v.oneOf(key+"Select", rules.Select, "Max", "Min", "Disabled")
		v.rule(rules.Percent > 0 || rules.Pods > 0, key+"Percent", strconv.Itoa(rules.Percent),
			"must be above 0 where headroom:"+key+"Pods is 0; headroom:"+key+"Select Disabled forbids steps")
	}
}
