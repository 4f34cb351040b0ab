package dashboards

import (
	"cmp"
	"fmt"

	"headroom.dev/infra/internal/promql"
)

// board is a dashboard, before its panels have a place.
type board struct {
	id, title, description string
	rows                   []row
}

// row is a titled row of panels that share its width.
type row struct {
	title  string
	panels []panel
}

// panel shows time series, or where kind says so something else.
type panel struct {
	title, description string
	kind               kind
	unit               string // Grafana's name of it
	series             []series
	lines              []line  // bounds that are drawn in, lowest first
	base               string  // colour below them; empty: good
	highest            float64 // of the axis; 0: as the data is
	stacked, signed    bool    // signed: there are values below 0
}

type kind string

const (
	graph  kind = "timeseries"
	single kind = "stat"
	states kind = "state-timeline" // 1 and 0, as yes and no
)

// series is what a query gives, named by labels in {{ }}.
type series struct{ expr, legend string }

// line is a bound, and the colour of what lies above it.
type line struct {
	value float64
	color string
}

// The colours of bounds.
const (
	good    = "green"
	notGood = "orange"
	bad     = "red"
)

// Grafana's names of units.
const (
	inSeconds  = "s"
	perSecond  = "reqps" // requests
	operations = "ops"   // others, per second
	inShares   = "percentunit"
	inBytes    = "bytes"
	number     = "short"
)

// The size of Grafana's grid.
const (
	gridWidth   = 24
	panelHeight = 8
)

// The parts of Grafana's dashboard model that are used here.
type (
	object = map[string]any

	placed struct {
		ID          int     `json:"id"`
		Type        string  `json:"type"`
		Title       string  `json:"title"`
		Description string  `json:"description,omitempty"`
		Datasource  object  `json:"datasource,omitempty"`
		GridPos     gridPos `json:"gridPos"`
		Targets     []any   `json:"targets,omitempty"`
		FieldConfig any     `json:"fieldConfig,omitempty"`
		Options     object  `json:"options,omitempty"`
		Collapsed   *bool   `json:"collapsed,omitempty"`
	}
	gridPos struct {
		X int `json:"x"`
		Y int `json:"y"`
		W int `json:"w"`
		H int `json:"h"`
	}
)

// datasource is chosen in Grafana, by a variable.
var datasource = object{"type": "prometheus", "uid": "${datasource}"}

// tag is on all dashboards, and links them.
const tag = "headroom"

// render places the panels, row below row.
func (b board) render(args Args) object {
	var panels []placed
	y := 0
	add := func(p placed) {
		p.ID = len(panels) + 1
		panels = append(panels, p)
	}
	for _, r := range b.rows {
		open := false
		add(placed{Type: "row", Title: r.title, GridPos: gridPos{0, y, gridWidth, 1}, Collapsed: &open})
		y++
		width := gridWidth / len(r.panels)
		for i, p := range r.panels {
			add(p.render(args, gridPos{i * width, y, width, panelHeight}))
		}
		y += panelHeight
	}
	return object{
		"uid": b.id, "title": b.title, "description": b.description, "tags": []string{tag},
		"schemaVersion": 39, "version": 1, "editable": false, "graphTooltip": 1,
		"timezone": "browser", "refresh": "10s",
		"time": object{"from": "now-30m", "to": "now"},
		"templating": object{"list": []any{object{
			"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus",
			"current": object{}, "hide": 0, "includeAll": false, "multi": false, "refresh": 1,
		}}},
		"links": []any{object{
			"type": "dashboards", "title": "headroom", "tags": []string{tag}, "asDropdown": true, "keepTime": true, "includeVars": true,
		}},
		"panels": panels,
	}
}

func (p panel) render(args Args, at gridPos) placed {
	shown := cmp.Or(p.kind, graph)
	var targets []any
	for i, s := range p.series {
		target := object{
			"refId": refID(i), "datasource": datasource, "expr": promql.Scope(s.expr, args.Namespace), "legendFormat": s.legend,
			"editorMode": "code", "range": true,
		}
		if shown == single {
			target["range"], target["instant"] = false, true
		}
		targets = append(targets, target)
	}
	return placed{
		Type: string(shown), Title: p.title, Description: p.description, Datasource: datasource, GridPos: at,
		Targets: targets, FieldConfig: object{"defaults": p.field(shown), "overrides": []any{}}, Options: p.options(shown),
	}
}

// refID names a query within its panel.
func refID(i int) string { return string(rune('A' + i)) }

// field says how a value is written and drawn.
func (p panel) field(shown kind) object {
	steps := []any{object{"color": cmp.Or(p.base, good), "value": nil}}
	for _, l := range p.lines {
		steps = append(steps, object{"color": l.color, "value": l.value})
	}
	field := object{"unit": p.unit, "thresholds": object{"mode": "absolute", "steps": steps}}
	switch shown {
	case graph:
		custom := object{
			"drawStyle": "line", "lineWidth": 1, "fillOpacity": 5, "showPoints": "never", "spanNulls": false,
			"stacking":        object{"mode": "none", "group": "A"},
			"thresholdsStyle": object{"mode": "off"},
		}
		if p.stacked {
			custom["stacking"], custom["fillOpacity"] = object{"mode": "normal", "group": "A"}, 40
		}
		if len(p.lines) > 0 {
			custom["thresholdsStyle"] = object{"mode": "line"}
		}
		field["custom"], field["color"] = custom, object{"mode": "palette-classic"}
		if !p.signed {
			field["min"] = 0
		}
	case single:
		field["color"] = object{"mode": "thresholds"}
	case states:
		field["custom"] = object{"fillOpacity": 80, "lineWidth": 0}
		field["color"] = object{"mode": "thresholds"}
		field["mappings"] = []any{object{"type": "value", "options": object{
			"0": object{"text": "no", "color": bad, "index": 0}, "1": object{"text": "yes", "color": good, "index": 1},
		}}}
	}
	if p.highest > 0 {
		field["max"] = p.highest
	}
	return field
}

func (p panel) options(shown kind) object {
	legend := object{"showLegend": true, "displayMode": "list", "placement": "bottom"}
	switch shown {
	case single:
		return object{
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
			"colorMode":     "value", "graphMode": "none", "textMode": "value_and_name",
		}
	case states:
		return object{"legend": legend, "mergeValues": true, "rowHeight": 0.8, "showValue": "never"}
	}
	return object{"legend": legend, "tooltip": object{"mode": "multi", "sort": "desc"}}
}

// quantile is a quantile of a histogram over what Grafana shows at a point.
func quantile(q float64, histogram, matchers string) string {
	return fmt.Sprintf("histogram_quantile(%g, sum by (le) (rate(%s_bucket%s[$__rate_interval])))", q, histogram, matchers)
}

// mean is the mean of a histogram, by a label where there is one.
func mean(histogram, by string) string {
	if by != "" {
		by = fmt.Sprintf(" by (%s) ", by)
	}
	return fmt.Sprintf("sum%[2]s(rate(%[1]s_sum[$__rate_interval])) / sum%[2]s(rate(%[1]s_count[$__rate_interval]))", histogram, by)
}
