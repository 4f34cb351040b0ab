package controls

import (
	"slices"
	"strings"
	"testing"
	"time"

	"headroom.dev/scaler/internal/policy"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	later   = "2026-03-01T13:00:00Z"
	sooner  = "2026-03-01T13:30:00+01:00" // 12:30 UTC
	earlier = "2026-03-01T11:59:59Z"
)

func TestParse(t *testing.T) {
	at := func(text string) time.Time {
		parsed, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	ceiling := func(n int) *int { return &n }
	const wholeNumber, aTime = "a whole number from 0 to 10", "a time such as 2026-01-31T18:00:00Z"
	for name, tc := range map[string]struct {
		annotations map[string]string
		want        policy.Controls
		next        string
		problems    []string
	}{
		"nothing is ordered":                        {},
		"annotations of others are theirs":          {annotations: map[string]string{"headroom.dev/state": "x", "pause": "all", "kubectl.kubernetes.io/x": "y"}},
		"a pause forbids both directions":           {annotations: map[string]string{Pause: "all"}, want: policy.Controls{PauseIn: true, PauseOut: true}},
		"a pause of scaling in leaves scaling out":  {annotations: map[string]string{Pause: "in"}, want: policy.Controls{PauseIn: true}},
		"a pause of scaling out leaves scaling in":  {annotations: map[string]string{Pause: "out"}, want: policy.Controls{PauseOut: true}},
		"a pause with an end holds until then":      {annotations: map[string]string{Pause: "in", PauseUntil: later}, want: policy.Controls{PauseIn: true}, next: later},
		"a pause that has ended is none":            {annotations: map[string]string{Pause: "all", PauseUntil: earlier}},
		"a pause ends at its end, not a tick later": {annotations: map[string]string{Pause: "all", PauseUntil: "2026-03-01T12:00:00Z"}},
		"an end may have another time zone":         {annotations: map[string]string{Pause: "out", PauseUntil: sooner}, want: policy.Controls{PauseOut: true}, next: sooner},
		"a pause of what is unknown is ignored": {
			annotations: map[string]string{Pause: "yes"},
			problems:    []string{`annotation headroom.dev/pause: "yes" is not allowed, must be all, in or out`},
		},
		"a pause of an unreadable end holds": {
			annotations: map[string]string{Pause: "all", PauseUntil: "tomorrow"}, want: policy.Controls{PauseIn: true, PauseOut: true},
			problems: []string{`annotation headroom.dev/pause-until: "tomorrow" is not allowed, must be ` + aTime},
		},
		"an end without a pause is a mistake": {
			annotations: map[string]string{PauseUntil: later},
			problems:    []string{`annotation headroom.dev/pause-until: "` + later + `" is not allowed, must be beside headroom.dev/pause, which is not there`},
		},
		"a floor and a ceiling": {annotations: map[string]string{Floor: "3", Ceiling: " 7 "}, want: policy.Controls{Floor: 3, Ceiling: ceiling(7)}},
		"a ceiling of zero is one": {
			annotations: map[string]string{Ceiling: "0"}, want: policy.Controls{Ceiling: ceiling(0)},
		},
		"the next end is the earliest of those to come": {
			annotations: map[string]string{Floor: "3", FloorUntil: later, Ceiling: "7", CeilingUntil: sooner, Pause: "in", PauseUntil: earlier},
			want:        policy.Controls{Floor: 3, Ceiling: ceiling(7)}, next: sooner,
		},
		"a floor and a ceiling that have ended are none": {annotations: map[string]string{Floor: "3", FloorUntil: earlier, Ceiling: "2", CeilingUntil: earlier}},
		"a floor over the most replicas allowed is ignored": {
			annotations: map[string]string{Floor: "11"},
			problems:    []string{`annotation headroom.dev/floor: "11" is not allowed, must be ` + wholeNumber},
		},
		"each bad annotation is told, and the good ones hold": {
			annotations: map[string]string{Pause: "in", Floor: "-1", Ceiling: "2.5", CeilingUntil: "", FloorUntil: later},
			want:        policy.Controls{PauseIn: true}, next: later,
			problems: []string{
				`annotation headroom.dev/ceiling: "2.5" is not allowed, must be ` + wholeNumber,
				`annotation headroom.dev/ceiling-until: "" is not allowed, must be ` + aTime,
				`annotation headroom.dev/floor: "-1" is not allowed, must be ` + wholeNumber,
			},
		},
		"a key that was nearly one of ours is told": {
			annotations: map[string]string{"headroom.dev/paused": "all"},
			problems: []string{`annotation headroom.dev/paused: "all" is not allowed, must be one of the keys headroom.dev/pause, ` +
				`headroom.dev/pause-until, headroom.dev/floor, headroom.dev/floor-until, headroom.dev/ceiling, headroom.dev/ceiling-until`},
		},
		"a value of any length is told in one short line": {
			annotations: map[string]string{Pause: strings.Repeat("ä\n", 1000)},
			problems:    []string{`annotation headroom.dev/pause: "` + strings.Repeat(`ä\n`, 20) + `"… is not allowed, must be all, in or out`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Parse(tc.annotations, 10, now)
			if !Equal(got.Controls, tc.want) {
				t.Errorf("ordered: %s, want %s", Describe(got.Controls), Describe(tc.want))
			}
			switch {
			case tc.next == "" && !got.Next.IsZero():
				t.Errorf("the next end is %s, want none", got.Next)
			case tc.next != "" && !got.Next.Equal(at(tc.next)):
				t.Errorf("the next end is %s, want %s", got.Next, tc.next)
			}
			var problems []string
			for _, p := range got.Problems {
				problems = append(problems, p.String())
			}
			if !slices.Equal(problems, tc.problems) {
				t.Errorf("problems\n%s\nwant\n%s", strings.Join(problems, "\n"), strings.Join(tc.problems, "\n"))
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	seven := 7
	for want, c := range map[string]policy.Controls{
		"none":                      {},
		"paused in both directions": {PauseIn: true, PauseOut: true},
		"scaling in is paused, at least 2, at most 7": {PauseIn: true, Floor: 2, Ceiling: &seven},
		"scaling out is paused":                       {PauseOut: true},
	} {
		if got := Describe(c); got != want {
			t.Errorf("%+v is described as %q, want %q", c, got, want)
		}
	}
}
