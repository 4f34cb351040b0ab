package compare

import (
	"strings"
	"testing"
)

func TestPoliciesAreParsed(t *testing.T) {
	names := Names("headroom, headroom-bridge,hpa70,hpa90-zerolag,hpa-queue,kpa,kpa50,fixed12,clairvoyant,oracle")
	policies, err := Parse(names)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range policies {
		if p.Name != names[i] {
			t.Errorf("policy %d is %q, want %q", i, p.Name, names[i])
		}
	}
	for name, want := range map[string]Policy{
		"hpa90-zerolag": {kind: hpaCPU, number: 90, zeroLag: true},
		"hpa5":          {kind: hpaCPU, number: 5},
		"kpa":           {kind: kpa, number: 70},
		"kpa50":         {kind: kpa, number: 50},
		"fixed12":       {kind: fixed, number: 12},
	} {
		p, ok := parse(name)
		if !ok || p.kind != want.kind || p.number != want.number || p.zeroLag != want.zeroLag {
			t.Errorf("%s is %+v, want %+v", name, p, want)
		}
	}
}

func TestPoliciesAreRefused(t *testing.T) {
	for _, list := range []string{"", "hpa", "hpa0", "hpa07", "hpa1001", "hpa70-slow", "kpa101", "kpa50-zerolag", "fixed", "fixed-1", "fixed100001", "best", "headroom,headroom"} {
		_, err := Parse(Names(list))
		if err == nil || !strings.Contains(err.Error(), "allowed") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want one line with what is allowed", list, err)
		}
	}
}

func TestOnlyPeersNeedUpstream(t *testing.T) {
	for list, want := range map[string]bool{"headroom,oracle,clairvoyant,fixed3,headroom-bridge": false, "headroom,kpa": true, "hpa-queue": true, "hpa70": true} {
		policies, err := Parse(Names(list))
		if err != nil || NeedsUpstream(policies) != want {
			t.Errorf("%s: %v %v, want %v", list, NeedsUpstream(policies), err, want)
		}
	}
}
