package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// cause is why more is asked for.
func (t Terms) cause(s *State) Reason {
	switch {
	case t.ForBacklog > max(t.ForDemand, t.ForForecast):
		return Backlog
	case t.ForForecast > t.ForDemand:
		return Forecast
	case s.Correction > 1.05:
		return Latency
	}
	return Demand
}

// steady says why a count that is as it should be is that.
func (cfg Config) steady(s *State, t Terms) Reason {
	switch {
	case t.Recommended == 0:
		return Idle
	case s.Known.service().P99 >= cfg.SLO.Seconds():
		return SLOInfeasible
	}
	return Steady
}

func (t Terms) utilization(n, slots int) float64 {
	if n == 0 {
		return 0
	}
	return t.Rate * t.ServiceEffective / float64(n*slots)
}

// demand is what this moment asks for, in words.
func (t Terms) demand() string {
	if t.Rate == 0 && t.BacklogRate == 0 {
		return "no requests arrive and none are queued"
	}
	what := fmt.Sprintf("%s requests/s", number(t.Level))
	if t.ForForecast > t.ForDemand {
		what += fmt.Sprintf(", expected to be %s in %s,", number(t.Rate), seconds(t.LeadTime))
	}
	if t.ForBacklog > max(t.ForDemand, t.ForForecast) {
		what += fmt.Sprintf(" and a backlog to be drained at %s/s", number(t.BacklogRate))
	}
	if t.ServiceEffective == 0 {
		return what + " of a service time that isn't known yet"
	}
	each := seconds(t.ServiceEffective)
	if t.Correction > 1.005 {
		each += fmt.Sprintf(" (corrected by %.2f, as the promise is broken)", t.Correction)
	}
	return fmt.Sprintf("%s of %s each need %s", what, each, replicas(t.Recommended))
}

// measuredP99 is the service time's 99th percentile, in seconds, as it is measured.
func (t Terms) measuredP99() float64 { return t.ServiceP99 / t.Correction }

// infeasible says that the service time breaks the promise by itself.
func (t Terms) infeasible(cfg Config, snap Snapshot) string {
	if t.measuredP99() < cfg.SLO.Seconds() || t.Rate == 0 || snap.Spec == 0 {
		return ""
	}
	return fmt.Sprintf("; the service time alone takes up to %s of the %s promised, and no number of replicas changes it", seconds(t.measuredP99()), cfg.SLO)
}

func (t Terms) distrust() string {
	if len(t.Untrusted) == 0 {
		return ""
	}
	return " (can't rely on: " + strings.Join(t.Untrusted, ", ") + ")"
}

// word says who set a bound that is not the config's own.
func (b bounds) word(by Reason) string {
	switch by {
	case FloorSet:
		return " by the floor that is set"
	case CeilingSet:
		return " by the ceiling that is set"
	case FallbackFloor:
		return " as the fallback for an unknown load"
	}
	return ""
}

func replicas(n int) string {
	if n == 1 {
		return "1 replica"
	}
	return count(n) + " replicas"
}

func count(n int) string { return strconv.Itoa(n) }

func number(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Microsecond).String()
}
