package dashboards

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"headroom.dev/infra/internal/promqltest"
	"headroom.dev/infra/internal/rules"
)

func everything() Args {
	return Args{SLOLatency: 500 * time.Millisecond, Lookback: 6 * time.Hour, Scaler: true, RedisExporter: true, Stack: "headroom"}
}

func shapes() map[string]Args {
	elsewhere := everything()
	elsewhere.Namespace, elsewhere.Stack, elsewhere.Lookback = "shop", "shop", 0
	return map[string]Args{
		"everything": everything(), "elsewhere": elsewhere,
		"little": {SLOLatency: time.Second, Lookback: time.Hour, Stack: "headroom"},
	}
}

func TestPrometheusUnderstandsEveryQuery(t *testing.T) {
	for name, args := range shapes() {
		t.Run(name, func(t *testing.T) {
			var filled []string
			for _, q := range Queries(args) {
				text := q.Filled(time.Minute, 30*time.Minute)
				require.NotContains(t, text, "$")
				filled = append(filled, text)
			}
			promqltest.Parse(t, filled)
		})
	}
}

// Every series that a panel asks for is exported by a pod, or recorded by a rule.
func TestQueriesAskForSeriesThatExist(t *testing.T) {
	for name, args := range shapes() {
		t.Run(name, func(t *testing.T) {
			known := promqltest.Contract(t)
			known["redis_memory_used_bytes"], known["redis_memory_max_bytes"] = args.RedisExporter, args.RedisExporter
			for _, group := range rules.Groups(rules.Args{SLOLatency: args.SLOLatency, Lookback: args.Lookback}) {
				for _, rule := range group.Rules {
					known[rule.Record] = true
				}
			}
			for _, q := range Queries(args) {
				names := promqltest.Names(q.Expr)
				require.NotEmpty(t, names, q.Expr)
				for _, name := range names {
					require.True(t, known[name], "%s, %s asks for %s", q.Dashboard, q.Panel, name)
					require.True(t, args.Scaler || !strings.HasPrefix(name, "headroom_scaler_"), "%s, %s: there is no scaler", q.Dashboard, q.Panel)
				}
				require.Equal(t, args.Namespace != "", strings.Contains(q.Expr, `namespace="shop"`), q.Expr)
			}
		})
	}
}

// drawn are the parts of a dashboard that Grafana goes by.
type drawn struct {
	UID, Title string
	Tags       []string
	Templating struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []struct {
		ID          int
		Type, Title string
		Datasource  struct{ Type, UID string }
		GridPos     struct{ X, Y, W, H int }
		Targets     []struct {
			RefID, Expr, LegendFormat string
			Datasource                struct{ UID string }
		}
		FieldConfig struct {
			Defaults struct {
				Unit       string
				Custom     struct{ ThresholdsStyle struct{ Mode string } }
				Thresholds struct {
					Steps []struct {
						Color string
						Value *float64
					}
				}
			}
		}
	}
}

func draw(t *testing.T, args Args) map[string]drawn {
	t.Helper()
	files, err := Files(args)
	require.NoError(t, err)
	boards := map[string]drawn{}
	for name, content := range files {
		var d drawn
		require.NoError(t, json.Unmarshal([]byte(content), &d))
		boards[name] = d
	}
	return boards
}

func TestDashboardsAreWhole(t *testing.T) {
	for name, args := range shapes() {
		t.Run(name, func(t *testing.T) {
			boards := draw(t, args)
			require.Contains(t, boards, Home(args))
			require.Len(t, boards, map[bool]int{true: 3, false: 2}[args.Scaler])
			asked := 0
			for file, board := range boards {
				require.Equal(t, board.UID+".json", file)
				require.LessOrEqual(t, len(board.UID), 40)
				require.Equal(t, []string{"headroom"}, board.Tags)
				require.Len(t, board.Templating.List, 1)
				require.Equal(t, "datasource", board.Templating.List[0].Name)
				require.Equal(t, "prometheus", board.Templating.List[0].Query)
				taken, ids := map[string]bool{}, map[int]bool{}
				for _, p := range board.Panels {
					require.False(t, ids[p.ID], "%s: two panels %d", file, p.ID)
					ids[p.ID] = true
					require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
					for x := range p.GridPos.W {
						for y := range p.GridPos.H {
							place := fmt.Sprintf("%d,%d", p.GridPos.X+x, p.GridPos.Y+y)
							require.False(t, taken[place], "%s lies on another panel", p.Title)
							taken[place] = true
						}
					}
					if p.Type == "row" {
						continue
					}
					require.NotEmpty(t, p.Title)
					require.NotEmpty(t, p.FieldConfig.Defaults.Unit, p.Title)
					require.Equal(t, "${datasource}", p.Datasource.UID, p.Title)
					require.NotEmpty(t, p.Targets, p.Title)
					refs := map[string]bool{}
					for _, target := range p.Targets {
						require.NotEmpty(t, target.LegendFormat, p.Title)
						require.Equal(t, "${datasource}", target.Datasource.UID)
						require.False(t, refs[target.RefID], p.Title)
						refs[target.RefID] = true
						asked++
					}
				}
			}
			require.Len(t, Queries(args), asked)
		})
	}
}

// A legend is made of labels that the query leaves.
func TestLegendsNameLabelsThatAreThere(t *testing.T) {
	label := regexp.MustCompile(`\{\{(\w+)\}\}`)
	for _, board := range draw(t, everything()) {
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				for _, found := range label.FindAllStringSubmatch(target.LegendFormat, -1) {
					aggregated := strings.HasPrefix(target.Expr, "sum") || strings.HasPrefix(target.Expr, "max")
					require.Equal(t, aggregated, strings.Contains(target.Expr, "by ("+found[1]+")"), target.Expr)
					if !aggregated {
						require.Equal(t, "instance", found[1], target.Expr)
					}
				}
			}
		}
	}
}

func TestThePromiseIsDrawnIn(t *testing.T) {
	args := everything()
	args.SLOLatency = 320 * time.Millisecond
	found := 0
	for _, board := range draw(t, args) {
		for _, p := range board.Panels {
			if p.Title != "Latency of answered requests" && p.Title != "Latency at the promise's quantile" {
				continue
			}
			found++
			require.Equal(t, "s", p.FieldConfig.Defaults.Unit)
			require.Equal(t, "line", p.FieldConfig.Defaults.Custom.ThresholdsStyle.Mode)
			steps := p.FieldConfig.Defaults.Thresholds.Steps
			require.Len(t, steps, 2)
			require.Nil(t, steps[0].Value)
			require.Equal(t, 0.32, *steps[1].Value)
		}
	}
	require.Equal(t, 2, found)
}

// What two stacks bring to one Grafana are different dashboards.
func TestStacksHaveTheirOwnDashboards(t *testing.T) {
	one, other := everything(), everything()
	other.Stack = strings.Repeat("long", 15)
	first, second := draw(t, one), draw(t, other)
	require.Contains(t, first, "headroom-service.json")
	for file, board := range second {
		require.NotContains(t, first, file)
		require.Contains(t, board.Title, other.Stack)
	}
}
