//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"headroom.dev/infra/internal/dashboards"
)

// everyPanelHasData asks Prometheus what each panel of the dashboards in the
// cluster would ask, about the last ten minutes.
func everyPanelHasData(t *testing.T, prometheus string) {
	queries := panelQueries(t)
	if len(queries) < 50 {
		t.Errorf("the dashboards have %d queries", len(queries))
	}
	for _, q := range queries {
		t.Run(q.Dashboard+", "+q.Panel, func(t *testing.T) {
			eventually(t, q.Expr, time.Minute, func() error { return hasData(t, prometheus, q.Filled(30*time.Second, 10*time.Minute)) })
		})
	}
}

// panelQueries are those in the ConfigMap that a Grafana takes its dashboards from.
func panelQueries(t *testing.T) []dashboards.Query {
	t.Helper()
	var found struct {
		Items []struct{ Data map[string]string }
	}
	if err := json.Unmarshal([]byte(kubectl(t, "-n", namespace, "get", "configmaps", "-l", "grafana_dashboard=1", "-o", "json")), &found); err != nil {
		t.Fatal(err)
	}
	if len(found.Items) != 1 {
		t.Fatalf("%d ConfigMaps with dashboards", len(found.Items))
	}
	var queries []dashboards.Query
	for name, text := range found.Items[0].Data {
		var board struct {
			Title  string
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal([]byte(text), &board); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				queries = append(queries, dashboards.Query{Dashboard: board.Title, Panel: p.Title, Expr: target.Expr})
			}
		}
	}
	return queries
}

// hasData returns nil when the query gives at least one number in ten minutes.
func hasData(t *testing.T, prometheus, query string) error {
	t.Helper()
	now := time.Now()
	var answer struct {
		Result []struct{ Values [][2]any }
	}
	if err := askPrometheus(t, prometheus, "/api/v1/query_range?"+url.Values{
		"query": {query}, "step": {"5"}, "start": {unix(now.Add(-10 * time.Minute))}, "end": {unix(now)},
	}.Encode(), &answer); err != nil {
		return err
	}
	for _, series := range answer.Result {
		for _, sample := range series.Values {
			text, _ := sample[1].(string)
			if value, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(value) && !math.IsInf(value, 0) {
				return nil
			}
		}
	}
	return fmt.Errorf("%d series, without a number", len(answer.Result))
}

func unix(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// everyRuleIsEvaluated has Prometheus know all groups of rules and fail at none.
func everyRuleIsEvaluated(t *testing.T, prometheus string) {
	eventually(t, "every rule is evaluated", time.Minute, func() error {
		var answer struct {
			Groups []struct {
				Name  string
				Rules []struct{ Name, Health, LastError string }
			}
		}
		if err := askPrometheus(t, prometheus, "/api/v1/rules", &answer); err != nil {
			return err
		}
		if len(answer.Groups) == 0 {
			return errors.New("no rules")
		}
		for _, group := range answer.Groups {
			for _, rule := range group.Rules {
				if rule.Health != "ok" {
					return fmt.Errorf("%s, %s: %s %s", group.Name, rule.Name, rule.Health, rule.LastError)
				}
			}
		}
		return nil
	})
}

// askPrometheus reads the data of an answer of its API.
func askPrometheus(t *testing.T, prometheus, path string, into any) error {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, prometheus+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	answer := struct {
		Data  any
		Error string
	}{Data: into}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s: %.200s", response.Status, body)
	}
	if answer.Error != "" {
		return errors.New(answer.Error)
	}
	return nil
}
