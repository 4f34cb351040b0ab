// Package promql adjusts PromQL to the Prometheus that it is meant for.
package promql

import (
	"fmt"
	"regexp"
	"strings"
)

// selector matches the name of a series that headroom's pods, or Prometheus
// about them, have, and the brace that opens its matchers.
var selector = regexp.MustCompile(
	`\b(up\{|(?:headroom:|headroom_|dispatcher_|inference_|modelserver_|process_|redis_)[a-zA-Z0-9_:]+(\{)?)`)

// Scope narrows a query to the series of one namespace, for a Prometheus that
// watches others too. An empty namespace leaves the query as it is.
func Scope(query, namespace string) string {
	if namespace == "" {
		return query
	}
	matcher := fmt.Sprintf(`{namespace="%s"`, namespace)
	return selector.ReplaceAllStringFunc(query, func(found string) string {
		if name, ok := strings.CutSuffix(found, "{"); ok {
			return name + matcher + ","
		}
		return found + matcher + "}"
	})
}
