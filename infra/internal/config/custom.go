package config

import (
	"fmt"
	"strconv"
	"time"
)

// What the scaler does with its decisions.
const (
	ModeActive = "active"  // carries them out
	ModeDryRun = "dry-run" // only tells them
)

// Custom configures headroom's own scaler. With another one it is checked all
// the same, and not used.
type Custom struct {
	Mode     string // ModeActive or ModeDryRun
	Replicas int    // of the scaler itself, 1 to 5; one leads

	ScaleInStabilization time.Duration // 1s to 1h
	BridgeCeiling        float64       // most CPU of a model server while others start, 1 to 16 times its limit; 1: no more than that

	IdleAfter          time.Duration // with minReplicas 0, from the last arrival to zero, 1s to 24h
	ColdStartAllowance time.Duration // with minReplicas 0, how long a request waits for the first model server, 1s to 10m

	FallbackAfter    time.Duration // how long the count is held while the load is unknown, 0 to 24h; 0: for ever
	FallbackReplicas int           // and then the least count, at most MaxReplicas

	Schedules []Schedule
}

func (r *reader) custom() Custom {
	return Custom{
		Mode:     r.text("scalerMode", ModeActive),
		Replicas: r.integer("scalerReplicas", 2),

		ScaleInStabilization: r.duration("scaleInStabilization", time.Minute),
		BridgeCeiling:        r.number("bridgeCeiling", 1),

		IdleAfter:          r.duration("idleAfter", 5*time.Minute),
		ColdStartAllowance: r.duration("coldStartAllowance", 30*time.Second),

		FallbackAfter:    r.duration("fallbackAfter", 0),
		FallbackReplicas: r.integer("fallbackReplicas", 0),

		Schedules: r.schedules(),
	}
}

func (v *validator) custom(c Config) {
	custom := c.Custom
	v.oneOf("scalerMode", custom.Mode, ModeActive, ModeDryRun)
	v.within("scalerReplicas", custom.Replicas, 1, 5)
	v.between("scaleInStabilization", custom.ScaleInStabilization, time.Second, time.Hour)
	v.rule(1 <= custom.BridgeCeiling && custom.BridgeCeiling <= 16, "bridgeCeiling",
		strconv.FormatFloat(custom.BridgeCeiling, 'g', -1, 64), "must be a number from 1 to 16")
	v.between("idleAfter", custom.IdleAfter, time.Second, 24*time.Hour)
	v.between("coldStartAllowance", custom.ColdStartAllowance, time.Second, 10*time.Minute)
	v.between("fallbackAfter", custom.FallbackAfter, 0, 24*time.Hour)
	v.within("fallbackReplicas", custom.FallbackReplicas, 0, 1000)
	if v.sound("fallbackReplicas", "maxReplicas") {
		v.rule(custom.FallbackReplicas <= c.MaxReplicas, "fallbackReplicas", strconv.Itoa(custom.FallbackReplicas),
			fmt.Sprintf("must be at most headroom:maxReplicas, which is %d", c.MaxReplicas))
	}
	if v.sound("fallbackReplicas", "fallbackAfter") {
		v.rule(custom.FallbackReplicas == 0 || custom.FallbackAfter > 0, "fallbackReplicas", strconv.Itoa(custom.FallbackReplicas),
			"must be 0 while headroom:fallbackAfter is 0s, which holds the present count for ever")
	}
	v.schedules(c)
}
