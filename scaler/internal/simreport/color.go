package simreport

import (
	"strings"

	"headroom.dev/scaler/internal/compare"
)

// colors is how many classes c0 … of the page have a colour.
const colors = 10

// styles gives every policy a class, the same in all pictures: headroom's is c0,
// and what no real scaler can do is grey or green, and dashed.
func styles(policies []string) map[string]string {
	fixed := map[string]string{compare.Headroom: "c0", compare.Clairvoyant: "c8 dashed", compare.Oracle: "c9 dashed", "hpa70": "c1", "hpa90": "c2", "kpa": "c3", "headroom-bridge": "c4"}
	out := map[string]string{}
	next := 5
	for _, p := range policies {
		class, ok := fixed[p]
		if !ok {
			class = "c" + string(rune('0'+next))
			if next++; next == 8 {
				next = 1
			}
		}
		out[p] = class
	}
	return out
}

// hue is the class without its dashes.
func hue(class string) string {
	h, _, _ := strings.Cut(class, " ")
	return h
}
