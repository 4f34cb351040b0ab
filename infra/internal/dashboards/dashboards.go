// Package dashboards draws Grafana's dashboards of headroom: of the service, of
// the scaler and of the model servers.
package dashboards

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"headroom.dev/infra/internal/promql"
)

// Args say what the dashboards are to show.
type Args struct {
	SLOLatency    time.Duration
	Lookback      time.Duration // how long Prometheus keeps its data, at least 1h; 0: longer than anything looks back
	Scaler        bool          // headroom's own scaler runs
	RedisExporter bool          // Redis' memory is known
	Namespace     string        // the series' label namespace; empty: they have none
	Stack         string        // the stack's namespace: a Grafana may have the dashboards of several
}

// Files are the dashboards as Grafana reads them, by file name.
func Files(args Args) (map[string]string, error) {
	files := map[string]string{}
	for _, b := range boards(args) {
		content, err := json.Marshal(b.render(args))
		if err != nil {
			return nil, fmt.Errorf("writing the dashboard %s: %w", b.title, err)
		}
		files[b.id+".json"] = string(content)
	}
	return files, nil
}

// Home is the name of the file to look at first.
func Home(args Args) string { return boards(args)[0].id + ".json" }

// Query is what a panel asks of Prometheus.
type Query struct {
	Dashboard, Panel string // titles
	Expr             string // with Grafana's variables $__rate_interval and $__range
}

// Filled is the query as Grafana would send it.
func (q Query) Filled(rateInterval, shown time.Duration) string {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }
	return strings.NewReplacer("$__rate_interval", seconds(rateInterval), "$__range", seconds(shown)).Replace(q.Expr)
}

// Queries are those of every panel.
func Queries(args Args) []Query {
	var queries []Query
	for _, b := range boards(args) {
		for _, r := range b.rows {
			for _, p := range r.panels {
				for _, s := range p.series {
					queries = append(queries, Query{b.title, p.title, promql.Scope(s.expr, args.Namespace)})
				}
			}
		}
	}
	return queries
}

func boards(args Args) []board {
	all := []board{service(args), modelServers()}
	if args.Scaler {
		all = append(all, scaler(args))
	}
	for i := range all {
		all[i].id, all[i].title = named(args.Stack, all[i].id, all[i].title)
	}
	return all
}

// named tells the dashboards of one stack from another's. Grafana's ids have at
// most 40 characters, a namespace may have more.
func named(stack, id, title string) (string, string) {
	if stack == usualStack {
		return id, title
	}
	sum := sha256.Sum256([]byte(stack))
	return id + "-" + hex.EncodeToString(sum[:4]), title + " in " + stack
}

// usualStack is the namespace that most have.
const usualStack = "headroom"

// leads narrows what scalers tell to the one that leads.
const leads = " and on (instance) (headroom_scaler_leader == 1)"
