package control

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"headroom.dev/scaler/internal/policy"
)

// Metrics are what a scaler exports, as contract/metrics.json lists it. Those
// without labels are vectors too: absent until something is known.
type Metrics struct {
	// Registry holds them and the process's own.
	Registry *prometheus.Registry

	desired, ready, spec, starting *prometheus.GaugeVec

	arrivals, arrivalError, trend *prometheus.GaugeVec
	service, correction, latency  *prometheus.GaugeVec
	asked, leadTime, utilization  *prometheus.GaugeVec
	forecastError, backlog        *prometheus.GaugeVec
	untrusted, limited, cpuFactor *prometheus.GaugeVec
	hold                          *prometheus.GaugeVec

	decisions, scalings, wouldHaveScaled, foreignChanges *prometheus.CounterVec

	signalUp, signalState, signalAge *prometheus.GaugeVec
	resizes, badAnnotations          *prometheus.GaugeVec
	errors                           *prometheus.CounterVec
	wakes, overruns                  prometheus.Counter
	loopDuration                     prometheus.Histogram

	dryRun, reloadFailed, configLoaded prometheus.Gauge
}

// NewMetrics makes the metrics of one scaler in a registry of its own. leads
// tells whether it may write at present. version and revision are what the
// program was built from.
func NewMetrics(leads func() bool, version, revision string) *Metrics {
	m := &Metrics{Registry: prometheus.NewRegistry()}
	m.define(leads, version, revision)
	m.begin()
	return m
}

func (m *Metrics) define(leads func() bool, version, revision string) {
	register := func(c prometheus.Collector) { m.Registry.MustRegister(c) }
	gauges := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "headroom_scaler_" + name, Help: help}, labels)
		register(g)
		return g
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headroom_scaler_" + name, Help: help}, labels)
		register(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge { return gauges(name, help).WithLabelValues() }
	counter := func(name, help string) prometheus.Counter { return counters(name, help).WithLabelValues() }

	m.desired = gauges("desired_replicas", "Replicas of the last decision.")
	m.ready = gauges("ready_replicas", "Ready replicas of the target, as last read.")
	m.spec = gauges("spec_replicas", "Replicas that the target is told to have, as last read.")
	m.starting = gauges("starting_replicas", "Replicas of the target that exist and are not ready yet, as last read.")

	m.arrivals = gauges("arrival_rate", "Requests per second by kind: measured (the level that they have had since the last change) and planned (that the decision is made for).", "kind")
	m.arrivalError = gauges("arrival_rate_error", "Standard error of the measured arrival rate, per second.")
	m.trend = gauges("arrival_trend", "Growth of the arrival rate, per second and second; 0 where none is certain.")
	m.forecastError = gauges("forecast_error_ratio", "Error of the last forecast that has come due, as a share of what was measured then; above 0 means too high.")
	m.leadTime = gauges("lead_time_seconds", "Time from ordering a replica to its being ready that is planned with.")
	m.service = gauges("service_seconds", "Service time planned with by kind: mean and p99; 0 when unknown.", "kind")
	m.correction = gauges("correction", "Factor by which measured latency corrects the service time; 1 when the model holds.")
	m.latency = gauges("model_latency_seconds", "Latency at the promise's quantile that the model expects of the ready replicas; 0 when unknown, or they can't keep up.")
	m.utilization = gauges("planned_utilization", "Share of the decided replicas' time that the planned rate takes.")
	m.backlog = gauges("backlog_expected", "Part of the backlog that is expected to be left when a new replica is ready.")
	m.asked = gauges("asked_replicas", "Replicas asked for, by whom: demand (the rate now), forecast (the rate expected), backlog (that and the backlog), all (the most of these), scale_in (the fewest that hold with a margin), window (what is kept of those asked for within headroom_scaler_hold_seconds).", "by")
	m.hold = gauges("hold_seconds", "For how long replicas are kept once they were asked for.")
	m.untrusted = gauges("untrusted_seconds", "For how long a needed signal could not be relied on; 0 while all can be.")
	m.limited = gauges("limited", "1 for what kept the last decision from being what the model asked for, else 0; none when nothing did.", "limiter")
	m.cpuFactor = gauges("cpu_factor", "How many times its usual CPU limit each ready replica should have; above 1 while the bridge covers for replicas that start.")

	m.decisions = counters("decisions_total", "Decisions by reason code.", "reason")
	m.scalings = counters("scalings_total", "Writes to the scale subresource, by direction (out, in).", "direction")
	m.wouldHaveScaled = counters("would_have_scaled_total", "Scalings that a dry run has not done, by direction (out, in).", "direction")
	m.foreignChanges = counters("foreign_changes_total", "Changes of the scale by somebody else that the leader saw, by direction (out, in).", "direction")

	m.signalUp = gauges("signal_up", "1 when the signal was read and is a recent, finite number, else 0.", "signal")
	m.signalState = gauges("signal_state", "1 for the state of each signal (ok, missing, stale, invalid, reset), else 0.", "signal", "state")
	m.signalAge = gauges("signal_age_seconds", "Time since the newest sample behind a signal, as last read; absent where it is unknown.", "signal")

	m.resizes = gauges("resizes", "Replicas by what became of their last change of CPU: raised (have more than usual), pending, deferred (no room on the node now), infeasible (never fits there).", "state")
	m.badAnnotations = gauges("bad_annotations", "Annotations of the target that are ignored because of their value.")
	m.errors = counters("errors_total", "Failed reads and writes by source (prometheus, kubernetes).", "source")
	m.wakes = counter("wakes_total", "Requests to /wake.")
	m.overruns = counter("loop_overruns_total", "Turns of the control loop that were cut off because they took longer than a tick.")
	m.dryRun = gauge("dry_run", "1 while decisions are told and not carried out, else 0.")
	m.reloadFailed = gauge("config_reload_failed", "1 while the config file is not what the scaler runs with, because it is bad, else 0.")
	m.configLoaded = gauge("config_loaded_timestamp_seconds", "Time at which the config that the scaler runs with was loaded.")
	m.loopDuration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "headroom_scaler_loop_duration_seconds", Help: "Duration of one turn of the control loop.",
		Buckets: []float64{0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10},
	})
	register(m.loopDuration)
	register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headroom_scaler_leader", Help: "1 on the replica that holds the Lease.",
	}, func() float64 { return bit(leads()) }))
	gauges("build_info", "1, with what this program was built from and with.", "version", "revision", "go_version").
		WithLabelValues(version, revision, runtime.Version()).Set(1)
	register(collectors.NewGoCollector())
	register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

// begin makes the counters start at 0, and says that no signal is known.
func (m *Metrics) begin() {
	for _, reason := range policy.Reasons() {
		m.decisions.WithLabelValues(string(reason))
	}
	for _, d := range []string{"out", "in"} {
		m.scalings.WithLabelValues(d)
		m.wouldHaveScaled.WithLabelValues(d)
		m.foreignChanges.WithLabelValues(d)
	}
	for _, source := range []string{"prometheus", "kubernetes"} {
		m.errors.WithLabelValues(source)
	}
	m.observeSignals(Measured{})
}

// ConfigLoaded notes that a config was taken.
func (m *Metrics) ConfigLoaded(at time.Time) {
	m.configLoaded.Set(float64(at.UnixNano()) / 1e9)
	m.reloadFailed.Set(0)
}

// ConfigFailed notes that the config file is bad, and the one before is kept.
func (m *Metrics) ConfigFailed() { m.reloadFailed.Set(1) }

func (m *Metrics) observeSignals(measured Measured) {
	for name, s := range measured.Signals.Named() {
		m.signalUp.WithLabelValues(name).Set(bit(s.OK()))
		for _, state := range policy.SignalStates() {
			m.signalState.WithLabelValues(name, state.String()).Set(bit(s.State == state))
		}
		if age, ok := measured.Ages[name]; ok {
			m.signalAge.WithLabelValues(name).Set(age)
		} else {
			m.signalAge.DeleteLabelValues(name)
		}
	}
}

func (m *Metrics) observeReplicas(seen Replicas) {
	set(m.ready, float64(seen.Ready))
	set(m.spec, float64(seen.Spec))
	set(m.starting, float64(total(seen.Starting)))
	r := seen.Resizes
	for state, n := range map[string]int{"raised": r.Raised, "pending": r.Pending, "deferred": r.Deferred, "infeasible": r.Infeasible} {
		set(m.resizes, float64(n), state)
	}
}

func (m *Metrics) observeDecision(d policy.Decision) {
	m.decisions.WithLabelValues(string(d.Reason)).Inc()
	set(m.desired, float64(d.Replicas))
	set(m.cpuFactor, d.CPUFactor)
	for _, limiter := range policy.Limiters() {
		set(m.limited, bit(d.Limiter == limiter), string(limiter))
	}
	t := d.Terms
	set(m.arrivals, t.Level, "measured")
	set(m.arrivals, t.Rate, "planned")
	set(m.arrivalError, t.LevelError)
	set(m.trend, t.Trend)
	if t.ForecastKnown {
		set(m.forecastError, t.ForecastError)
	}
	set(m.leadTime, t.LeadTime)
	set(m.service, t.ServiceEffective, "mean")
	set(m.service, t.ServiceP99, "p99")
	set(m.correction, t.Correction)
	set(m.latency, t.LatencyModel)
	set(m.utilization, t.Utilization)
	set(m.backlog, t.BacklogExpected)
	set(m.hold, t.Hold)
	set(m.untrusted, t.UntrustedFor.Seconds())
	for by, n := range map[string]int{
		"demand": t.ForDemand, "forecast": t.ForForecast, "backlog": t.ForBacklog,
		"all": t.Recommended, "scale_in": t.ForScaleIn, "window": t.WindowMax,
	} {
		set(m.asked, float64(n), by)
	}
}

func set(g *prometheus.GaugeVec, value float64, labels ...string) {
	g.WithLabelValues(labels...).Set(value)
}

func bit(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func total(cohorts []policy.Cohort) int {
	n := 0
	for _, c := range cohorts {
		n += c.Count
	}
	return n
}
