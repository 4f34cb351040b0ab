// Package promqltest checks PromQL: with Prometheus' own parser, and that there
// are series of the names that it uses.
package promqltest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// contractFile is read by packages that are two folders below the module.
const contractFile = "../../../contract/metrics.json"

// Promtool runs promtool, which `make test` installs, and returns what it says.
func Promtool(t testing.TB, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	require.NoError(t, err, "promtool is needed: make test installs it")
	out, err := exec.Command(path, args...).CombinedOutput()
	return string(out), err
}

// Parse has Prometheus parse every query.
func Parse(t testing.TB, queries []string) {
	t.Helper()
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var all []rule
	for i, query := range queries {
		all = append(all, rule{"query:" + strconv.Itoa(i), query})
	}
	content, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "queries", "rules": all}}})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "queries.yml")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	out, err := Promtool(t, "check", "rules", path)
	require.NoError(t, err, "%s\n%s", out, content)
}

// Contract are the names of the series that headroom's pods export.
func Contract(t testing.TB) map[string]bool {
	t.Helper()
	content, err := os.ReadFile(contractFile)
	require.NoError(t, err)
	var components map[string]struct {
		Metrics []struct{ Name, Type string }
	}
	require.NoError(t, json.Unmarshal(content, &components))
	names := map[string]bool{}
	for _, component := range components {
		for _, metric := range component.Metrics {
			if metric.Type != "histogram" {
				names[metric.Name] = true
				continue
			}
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				names[metric.Name+part] = true
			}
		}
	}
	require.NotEmpty(t, names)
	return names
}

// Buckets are the upper bounds that the contract gives a histogram.
func Buckets(t testing.TB, component, name string) []float64 {
	t.Helper()
	content, err := os.ReadFile(contractFile)
	require.NoError(t, err)
	var components map[string]struct {
		Metrics []struct {
			Name    string
			Buckets []float64
		}
	}
	require.NoError(t, json.Unmarshal(content, &components))
	for _, metric := range components[component].Metrics {
		if metric.Name == name {
			return metric.Buckets
		}
	}
	require.Fail(t, "the contract has no such histogram", name)
	return nil
}

var (
	notNames = regexp.MustCompile(`"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)`)
	word     = regexp.MustCompile(`\b[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(?`)
	keywords = []string{"and", "or", "unless", "offset", "bool", "group_left", "group_right", "inf", "nan"}
)

// Names are the names of the series that a query asks for.
func Names(query string) []string {
	var names []string
	for _, found := range word.FindAllString(notNames.ReplaceAllString(query, " "), -1) {
		name := strings.TrimSpace(found)
		if strings.HasSuffix(name, "(") || slices.Contains(keywords, strings.ToLower(name)) || slices.Contains(names, name) {
			continue
		}
		names = append(names, name)
	}
	return names
}
