package sim

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"time"
)

// Result is what a run came to. Requests are those that arrived; each of them was
// answered in time or is one violation.
type Result struct {
	Scenario string `json:"scenario"`
	Engine   Engine `json:"engine"`

	Requests int64 `json:"requests"`
	// Violations are refused at the door, dropped from the queue (or lost twice with
	// a replica), or answered after the SLO. Unavoidable are those of them whose own
	// work takes longer than the SLO at a replica's usual CPU.
	Violations  int64 `json:"violations"`
	Refused     int64 `json:"refused"`
	Dropped     int64 `json:"dropped"`
	Late        int64 `json:"late"`
	Unavoidable int64 `json:"unavoidable"`
	// ViolationShare is violations by requests, 0..1.
	ViolationShare float64 `json:"violationShare"`
	// LatencyP50 and LatencyP99 are of all that were answered, late ones too, in
	// seconds; 0 where none were.
	LatencyP50 float64 `json:"latencyP50"`
	LatencyP99 float64 `json:"latencyP99"`

	// ReplicaSeconds count every replica from its being ordered until it is gone.
	// CPULimitSeconds are its cores times that, with what the bridge adds, and
	// CPUSeconds what was used of them.
	ReplicaSeconds  float64 `json:"replicaSeconds"`
	CPULimitSeconds float64 `json:"cpuLimitSeconds"`
	CPUSeconds      float64 `json:"cpuSeconds"`

	// ScaleOuts and ScaleIns are changes of the ordered count. Flaps are those of
	// them that go the other way than the change before, less than FlapWindow after it.
	ScaleOuts int `json:"scaleOuts"`
	ScaleIns  int `json:"scaleIns"`
	Flaps     int `json:"flaps"`
	// Reaction is the time, in seconds, from Scenario.Onset to the first order for
	// more. Nil where no onset is marked, or nothing was ordered.
	Reaction *float64 `json:"reaction,omitempty"`

	Timeline []Point `json:"timeline,omitempty"`
	// Events is how many events or steps were computed.
	Events int64 `json:"events"`
}

// FlapWindow is how soon a change the other way is a flap.
const FlapWindow = 5 * time.Minute

// Point is one second of a run. At is its end in seconds; counts are as of then,
// Rate, P99 and Violations of the second itself.
type Point struct {
	At         float64 `json:"at"`
	Rate       float64 `json:"rate"`
	Ready      int     `json:"ready"`
	Starting   int     `json:"starting"`
	Ordered    int     `json:"ordered"`
	Backlog    int64   `json:"backlog"`
	P99        float64 `json:"p99"` // seconds, of what was answered; 0 where nothing was
	Violations int64   `json:"violations"`
	// Unavoidable is how many of the violations no scaling would have avoided.
	Unavoidable int64   `json:"unavoidable"`
	CPUFactor   float64 `json:"cpuFactor"`

	avoidable float64 // the other violations, not rounded
}

// WriteCSV writes the timeline, one line a second under a line of names.
func (r *Result) WriteCSV(to io.Writer) error {
	w := bufio.NewWriter(to)
	fmt.Fprintln(w, "at,rate,ready,starting,ordered,backlog,p99,violations,unavoidable,cpu_factor")
	for _, p := range r.Timeline {
		fmt.Fprintf(w, "%g,%g,%d,%d,%d,%d,%.4f,%d,%d,%g\n",
			p.At, p.Rate, p.Ready, p.Starting, p.Ordered, p.Backlog, p.P99, p.Violations, p.Unavoidable, p.CPUFactor)
	}
	return w.Flush()
}

// noteChange counts a change of the ordered count by so many.
func (w *World) noteChange(by int) {
	direction := 1
	if by < 0 {
		direction = -1
		w.result.ScaleIns++
	} else {
		w.result.ScaleOuts++
		if onset := w.scenario.Onset; onset > 0 && w.now >= onset && w.result.Reaction == nil {
			after := (w.now - onset).Seconds()
			w.result.Reaction = &after
		}
	}
	if w.direction == -direction && w.now-w.changed < FlapWindow {
		w.result.Flaps++
	}
	w.direction, w.changed = direction, w.now
}

// record adds the second that ends now to the timeline.
func (w *World) record() {
	w.engine.flush()
	t, before := w.tally, &w.second
	length := (w.now - time.Duration(len(w.result.Timeline))*time.Second).Seconds()
	w.result.Timeline = append(w.result.Timeline, Point{
		At:          w.now.Seconds(),
		Rate:        (t.arrived - before.arrived) / length,
		Ready:       len(w.fleet.ready),
		Starting:    len(w.fleet.starting),
		Ordered:     w.fleet.spec,
		Backlog:     int64(w.engine.gauges(w.now).backlog),
		P99:         orZero(t.latency.quantileSince(&before.latency, latencyShare)),
		Violations:  round(t.violations()) - round(before.violations()),
		Unavoidable: round(t.unavoidable) - round(before.unavoidable),
		CPUFactor:   w.fleet.speed,
		avoidable:   t.avoidable() - before.avoidable(),
	})
	w.second = *t
}

// conclude plays out what is still in progress, which counts but costs nothing,
// and sums up.
func (w *World) conclude() {
	r, t := w.result, w.tally
	r.ReplicaSeconds = w.fleet.replicaSeconds
	r.CPULimitSeconds = w.fleet.limitSeconds * w.scenario.CPULimit
	r.CPUSeconds = t.work*w.scenario.perSlot() + w.fleet.servedSeconds(w.now)*w.scenario.Upkeep
	w.engine.finish()
	w.engine.flush()
	if last := len(r.Timeline) - 1; last >= 0 {
		r.Timeline[last].Violations += round(t.violations()) - round(w.second.violations())
		r.Timeline[last].Unavoidable += round(t.unavoidable) - round(w.second.unavoidable)
		r.Timeline[last].avoidable += t.avoidable() - w.second.avoidable()
	}
	r.Requests = round(t.arrived)
	r.Refused, r.Dropped, r.Late, r.Unavoidable = round(t.refused), round(t.dropped), round(t.late), round(t.unavoidable)
	r.Violations = r.Refused + r.Dropped + r.Late
	if r.Requests > 0 {
		r.ViolationShare = float64(r.Violations) / float64(r.Requests)
	}
	r.LatencyP50 = orZero(t.latency.quantileSince(nil, 0.5))
	r.LatencyP99 = orZero(t.latency.quantileSince(nil, 0.99))
	r.Events = t.events
}

func round(x float64) int64 { return int64(math.Round(x)) }

func orZero(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return x
}
