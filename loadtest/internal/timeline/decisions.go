package timeline

import "math"

// Decision is one change of the wanted number of replicas.
type Decision struct {
	// AtS is when it was seen, in seconds from the timeline's start.
	AtS  float64 `json:"at_s"`
	From int     `json:"from"`
	To   int     `json:"to"`
	// Reason is our scaler's reason code, "hpa", or empty when unknown.
	Reason string `json:"reason"`
}

// The reason codes of our scaler's decisions that change the count, by
// direction, as contract/metrics.json has them. All others leave it as it is.
var (
	raising  = []string{"demand", "forecast", "backlog", "latency", "woken", "fallback", "floor", "below_min", "at_max"}
	lowering = []string{"scale_in", "to_zero", "above_max", "ceiling", "at_max"}
)

// counterKey names the counter of one scaler's decisions with one reason.
func counterKey(instance, reason string) string { return instance + " " + reason }

// setDesired keeps what the scaler that leads wants, and its decisions. wanted
// holds the wanted number by scaler, of the one that leads, and counts the
// counters of all scalers' decisions by counterKey. Without a scaler of ours, decisions are the changes
// in how many replicas exist and are not on their way out.
func (t *Timeline) setDesired(wanted, counts map[string]Values) {
	desired := unknown(t.Seconds)
	leader, since := "", 0 // since: the last second with a known number
	for i := range t.Seconds {
		now := leaderAt(wanted, leader, i)
		if now == "" {
			continue
		}
		value := wanted[now][i]
		desired[i] = value
		if leader == "" {
			t.Decisions = []Decision{}
		} else if value != desired[since] {
			t.Decisions = append(t.Decisions, Decision{
				AtS: float64(i), From: int(desired[since]), To: int(value),
				Reason: reason(now, counts, value > desired[since], since, i),
			})
		}
		leader, since = now, i
	}
	t.Signals[Desired] = desired
	if leader == "" {
		t.Decisions = changes(t.present())
	}
}

// leaderAt returns which scaler leads in second i; while a Lease passes on, two
// may have said so, and it is still the one before. Empty when none does.
func leaderAt(wanted map[string]Values, before string, i int) string {
	if !math.IsNaN(wanted[before].At(i)) {
		return before
	}
	leader := ""
	for instance, values := range wanted {
		if !math.IsNaN(values.At(i)) && (leader == "" || instance < leader) {
			leader = instance
		}
	}
	return leader
}

// reason returns the reason of a scaler's change of the count between two
// seconds: of those that go in its direction, the one counted most often since.
// Empty when none was.
func reason(instance string, counts map[string]Values, up bool, from, to int) string {
	codes := lowering
	if up {
		codes = raising
	}
	found, most := "", 0.0
	for _, code := range codes {
		counter := counts[counterKey(instance, code)]
		increase := counter.At(to) - counter.At(from)
		if increase < 0 { // the scaler has restarted
			increase = counter.At(to)
		}
		if increase > most {
			found, most = code, increase
		}
	}
	return found
}

// present returns how many replicas are ready or starting.
func (t *Timeline) present() Values {
	present := make(Values, t.Seconds)
	for i := range present {
		present[i] = t.Signals[Ready].At(i) + t.Signals[Starting].At(i)
	}
	return present
}

// changes returns each change of a number of replicas, and one for those that
// follow each other second by second in the same direction: replicas that were
// ordered at once do not all appear at once. nil when no number is known.
func changes(values Values) []Decision {
	var all []Decision
	last := math.NaN()
	for i, value := range values {
		if math.IsNaN(value) {
			continue
		}
		switch n := len(all); {
		case math.IsNaN(last):
			all = []Decision{}
		case value == last:
		case n > 0 && all[n-1].AtS == float64(i-1) && (value > last) == (all[n-1].To > all[n-1].From):
			all[n-1].AtS, all[n-1].To = float64(i), int(value)
		default:
			all = append(all, Decision{AtS: float64(i), From: int(last), To: int(value)})
		}
		last = value
	}
	return all
}
