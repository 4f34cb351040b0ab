package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"headroom.dev/scaler/internal/compare"
	"headroom.dev/scaler/internal/compare/trace"
	"headroom.dev/scaler/internal/sim"
)

type runCommand struct {
	Trace       string  `placeholder:"FILE" help:"Demand to play: requests per second, one number a second, separated by spaces, commas or newlines; '#' begins a comment. Or a CSV; see --trace-unit and --trace-column."`
	TraceUnit   string  `default:"auto" placeholder:"UNIT" help:"What the trace's numbers are: second (requests per second), minute (requests per minute, one a minute), arrivals (a time in seconds for each request), or auto: arrivals for a .csv of one column with a name or a decimal point, else second. Default: ${default}."`
	TraceColumn string  `placeholder:"NAME" help:"Column of a CSV that has several: its name, or its number from 1."`
	Scale       float64 `default:"1" help:"Factor on the trace's rates, above 0 to 10000. Default: ${default}."`
	Speed       float64 `default:"1" help:"Factor on the trace's clock, above 0 to 10000: at 2 the same requests in half the time. Default: ${default}."`
	Workloads   int     `placeholder:"N" help:"Play so many random synthetic hours instead of a trace, 1 to 10000, and judge the aims. Of the service below only the scaler's settings count then."`

	Policies string `default:"headroom,hpa70,hpa90,kpa,clairvoyant,oracle" placeholder:"LIST" help:"What is compared, separated by commas: headroom, headroom-bridge (up to twice the CPU while replicas start), hpaN and hpaN-zerolag (N % of the CPU request), hpa-queue (two requests, waiting or in work, for each slot), kpa or kpaN (N % of the slots, 70), fixedN, clairvoyant, oracle (the best reactive one at headroom's cost). Default: ${default}."`
	Seed     uint64 `default:"1" help:"Of all random numbers. Default: ${default}."`

	SLO         time.Duration `name:"slo" default:"500ms" help:"Latency promise. Default: ${default}."`
	Service     time.Duration `default:"100ms" help:"Mean time that a request takes a replica. Default: ${default}."`
	ServiceCV   float64       `name:"service-cv" default:"0.3" help:"Its coefficient of variation, 0 to 10. Default: ${default}."`
	ColdStart   time.Duration `default:"4s" help:"Mean time from ordering a replica to its being ready. Default: ${default}."`
	ColdStartCV float64       `name:"cold-start-cv" default:"0.1" help:"Its coefficient of variation, 0 to 10. Default: ${default}."`
	EndpointLag time.Duration `default:"200ms" help:"Time from a replica's being ready to its first request. Default: ${default}."`
	Slots       int           `default:"1" help:"Requests that a replica works on at once, 1 to 1000. Default: ${default}."`
	CPULimit    float64       `name:"cpu-limit" default:"1" help:"Cores of a replica, above 0 to 1000. Default: ${default}."`
	CPURequest  float64       `name:"cpu-request" default:"1" help:"Share of the limit that a replica requests, which the HPA's percentage is of; above 0 to 1. Default: ${default}."`
	Initial     int           `placeholder:"N" help:"Replicas at the start. Default: what the first second needs."`
	Fault       []string      `placeholder:"KIND:FROM:TO" help:"What breaks, may be repeated: lag, vanish, nan or reset from and to a time (vanish:60s:90s, or only a group's signals with :dispatcher or :model-server behind), or kill:FROM:N, which ends N replicas."`

	policyFlags

	Tradeoff bool   `default:"true" negatable:"" help:"Also vary each policy's setting on a trace, for the picture of cost against violations. Default: ${default}."`
	Faulty   int    `default:"24" placeholder:"N" help:"Play so many of the workloads with broken metrics too, 0 to 10000. Default: ${default}."`
	Out      string `default:"results/simulate" placeholder:"DIR" help:"Folder for summary.json, summary.csv, timelines and report.html. Default: ${default}."`
	JSON     bool   `name:"json" help:"Print summary.json instead of a table."`
	Upstream string `placeholder:"FILE" help:"The program that runs the HPA and the KPA. Default: upstream beside this program, or .headroom/bin/upstream."`
}

// check tells what is wrong with the flags: one line with the flag, its value and
// what is allowed.
func (c *runCommand) check() error {
	if (c.Trace == "") == (c.Workloads == 0) {
		return fmt.Errorf("--trace %q and --workloads %d: allowed is one of them", c.Trace, c.Workloads)
	}
	if !slices.Contains(trace.Units(), trace.Unit(c.TraceUnit)) {
		return fmt.Errorf("--trace-unit %q: allowed are %v", c.TraceUnit, trace.Units())
	}
	for _, r := range []limits{
		{"scale", c.Scale, 0, 10000, true}, {"speed", c.Speed, 0, 10000, true},
		{"workloads", float64(c.Workloads), 0, 10000, false}, {"faulty", float64(c.Faulty), 0, 10000, false},
		{"service-cv", c.ServiceCV, 0, 10, false}, {"cold-start-cv", c.ColdStartCV, 0, 10, false},
		{"slots", float64(c.Slots), 1, 1000, false}, {"cpu-limit", c.CPULimit, 0, 1000, true}, {"cpu-request", c.CPURequest, 0, 1, true},
		{"initial", float64(c.Initial), 0, 100_000, false},
	} {
		if err := r.check(); err != nil {
			return err
		}
	}
	for _, d := range []times{
		{"slo", c.SLO, time.Millisecond, time.Minute}, {"service", c.Service, 100 * time.Microsecond, time.Minute},
		{"cold-start", c.ColdStart, 0, time.Hour}, {"endpoint-lag", c.EndpointLag, 0, time.Minute},
	} {
		if err := d.check(); err != nil {
			return err
		}
	}
	return c.policyFlags.check()
}

// scenarios are what is to be played, and what that is in words.
func (c *runCommand) scenarios() ([]sim.Scenario, string, error) {
	if c.Workloads > 0 {
		return sim.Workloads(c.Seed, c.Workloads), fmt.Sprintf("%d synthetic workloads of one hour", c.Workloads), nil
	}
	t, err := trace.Load(c.Trace, trace.Options{Unit: trace.Unit(c.TraceUnit), Column: c.TraceColumn, Scale: c.Scale, Speed: c.Speed})
	if err != nil {
		return nil, "", err
	}
	s := sim.Scenario{
		Name: t.Name, Seed: c.Seed, Rates: t.Rates, Times: t.Times,
		Service: sim.Service{Mean: c.Service, CV: c.ServiceCV}, Slots: c.Slots, CPULimit: c.CPULimit, SLO: c.SLO,
		ColdStart: sim.ColdStart{Mean: c.ColdStart, CV: c.ColdStartCV}, EndpointLag: c.EndpointLag,
	}
	if len(t.Times) > 0 {
		s.Duration = t.Times[len(t.Times)-1].Truncate(time.Second) + time.Second
	}
	if s.Faults, err = faultsOf(c.Fault); err != nil {
		return nil, "", err
	}
	s.Initial = c.Initial
	if s.Initial == 0 {
		s.Initial = sim.Replicas(s, firstRate(t))
	}
	s.Initial = min(max(s.Initial, c.Min, 1), c.Max)
	return []sim.Scenario{s}, fmt.Sprintf("%s, %s", t.Name, compare.Length(s)), s.Validate()
}

// firstRate is the demand of the first second.
func firstRate(t trace.Trace) float64 {
	if len(t.Rates) > 0 {
		return t.Rates[0]
	}
	n := 0
	for n < len(t.Times) && t.Times[n] < time.Second {
		n++
	}
	return float64(n)
}

// faultsOf reads KIND:FROM:TO, KIND:FROM:TO:GROUP and kill:FROM:N.
func faultsOf(texts []string) ([]sim.Fault, error) {
	var out []sim.Fault
	for _, text := range texts {
		f, ok := faultOf(strings.Split(text, ":"))
		if !ok {
			return nil, fmt.Errorf("--fault %q: allowed are lag, vanish, nan or reset as KIND:FROM:TO[:all|dispatcher|model-server] with times such as 90s, TO after FROM, and kill:FROM:REPLICAS", text)
		}
		out = append(out, f)
	}
	return out, nil
}

func faultOf(parts []string) (f sim.Fault, ok bool) {
	if len(parts) < 3 || len(parts) > 4 {
		return f, false
	}
	f.Kind = sim.FaultKind(parts[0])
	var err error
	if f.From, err = time.ParseDuration(parts[1]); err != nil || f.From < 0 {
		return f, false
	}
	switch f.Kind {
	case sim.Kill:
		_, err := fmt.Sscanf(parts[2], "%d", &f.Replicas)
		return f, err == nil && f.Replicas > 0 && len(parts) == 3
	case sim.Lag, sim.Vanish, sim.NotANumber, sim.CounterReset:
		if f.To, err = time.ParseDuration(parts[2]); err != nil || f.To <= f.From {
			return f, false
		}
		if len(parts) == 4 {
			f.Signals = sim.SignalGroup(parts[3])
			return f, f.Signals == sim.AllSignals || f.Signals == sim.DispatcherSignals || f.Signals == sim.ModelServerSignals
		}
		return f, true
	}
	return f, false
}

func (c *runCommand) settings() compare.Settings {
	return compare.Settings{Policy: c.policy(c.SLO), CPURequest: c.CPURequest, Workers: runtime.GOMAXPROCS(0)}
}
