package promtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Engine evaluates expressions with Prometheus' own engine on samples that are
// given: exact, and without waiting. It is promtool's test of rules.
type Engine struct {
	// Interval is the time between the values of a series.
	Interval time.Duration
	// Series has the values of each, by its name and labels, as promtool reads
	// them: "1+2x3 _ stale" are 1, 3, 5, 7, no sample, and the series' end.
	Series map[string]string

	expected strings.Builder
}

// Nothing expects an expression to have no result.
func (e *Engine) Nothing(expression string, at time.Duration) { e.expect(expression, at, "") }

// Something expects an expression's result to be 1, without labels.
func (e *Engine) Something(expression string, at time.Duration) { e.Number(expression, at, 1) }

// Number expects an expression's result to be one number, without labels.
func (e *Engine) Number(expression string, at time.Duration, want float64) {
	e.expect(expression, at, fmt.Sprintf(`{labels: "{}", value: %g}`, want))
}

func (e *Engine) expect(expression string, at time.Duration, samples string) {
	fmt.Fprintf(&e.expected, "  - {expr: %q, eval_time: %dms, exp_samples: [%s]}\n", expression, at.Milliseconds(), samples)
}

// Run fails the test with what is not as expected. It needs promtool on PATH,
// which comes with Prometheus.
func (e *Engine) Run(t *testing.T) {
	t.Helper()
	var text strings.Builder
	// Without an evaluation at the end promtool doesn't load the samples up to there.
	fmt.Fprintf(&text, "evaluation_interval: 1s\ntests:\n- interval: %dms\n  input_series:\n", e.Interval.Milliseconds())
	for name, values := range e.Series {
		fmt.Fprintf(&text, "  - {series: %q, values: %q}\n", name, values)
	}
	fmt.Fprintf(&text, "  promql_expr_test:\n%s", e.expected.String())
	file := filepath.Join(t.TempDir(), "test.yml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "test", "rules", file).CombinedOutput(); err != nil {
		const most = 4000
		t.Errorf("promtool: %v\n%s", err, out[:min(most, len(out))])
	}
}
