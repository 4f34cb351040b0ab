package config

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSchedules(t *testing.T) {
	cfg, err := Load(written(`schedules=[
		{"name": "mornings", "cron": "30 7 * * MON-FRI", "timezone": "Europe/Berlin", "duration": "2h", "floor": 4},
		{"name": "sales", "cron": "0 0 1,15 */2 *", "duration": "24h", "floor": 10}]`), project())
	require.NoError(t, err)
	require.Equal(t, []Schedule{
		{Name: "mornings", Cron: "30 7 * * MON-FRI", Timezone: "Europe/Berlin", Duration: 2 * time.Hour, Floor: 4},
		{Name: "sales", Cron: "0 0 1,15 */2 *", Timezone: "UTC", Duration: 24 * time.Hour, Floor: 10},
	}, cfg.Custom.Schedules)
	for _, none := range []string{"", "[]"} {
		cfg, err := Load(written("schedules="+none), project())
		require.NoError(t, err)
		require.Empty(t, cfg.Custom.Schedules)
	}
}

func TestBadSchedules(t *testing.T) {
	// good is a schedule but for what a test changes.
	good := map[string]string{"name": `"a"`, "cron": `"0 8 * * *"`, "duration": `"1h"`, "floor": `1`}
	one := func(part, value string) string {
		var parts []string
		for key, usual := range good {
			if key != part {
				parts = append(parts, `"`+key+`":`+usual)
			}
		}
		if part != "" {
			parts = append(parts, `"`+part+`":`+value)
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	const list = "must be a list of {name, cron, timezone, duration, floor}: "
	for name, test := range map[string]struct{ schedules, message string }{
		"no list":          {"daily", `headroom:schedules is "daily"; ` + list + "invalid character 'd' looking for beginning of value"},
		"an unknown part":  {`[{"flor":1}]`, `headroom:schedules is "[{\"flor\":1}]"; ` + list + `json: unknown field "flor"`},
		"a bad name":       {"[" + one("name", `"Mornings"`) + "]", `headroom:schedules[0].name is "Mornings"; must be lower-case letters, digits and -, and the name of no other schedule`},
		"a name twice":     {"[" + one("", "") + "," + one("", "") + "]", `headroom:schedules[1].name is "a"; must be lower-case letters, digits and -, and the name of no other schedule`},
		"four fields":      {"[" + one("cron", `"0 8 * *"`) + "]", `headroom:schedules[0].cron is "0 8 * *"; must be minute, hour, day of the month, month and day of the week, such as "30 7 * * MON-FRI"`},
		"an unknown zone":  {"[" + one("timezone", `"Mars"`) + "]", `headroom:schedules[0].timezone is "Mars"; must be an IANA time zone, such as UTC or Europe/Berlin`},
		"this machine's":   {"[" + one("timezone", `"Local"`) + "]", `headroom:schedules[0].timezone is "Local"; must be an IANA time zone, such as UTC or Europe/Berlin`},
		"no duration":      {"[" + one("duration", `""`) + "]", `headroom:schedules[0].duration is ""; must be a duration with its unit, such as 500ms or 2s`},
		"a short duration": {"[" + one("duration", `"1s"`) + "]", `headroom:schedules[0].duration is "1s"; must be a duration in whole milliseconds from 1m0s to 168h0m0s, such as 1.5s`},
		"no floor":         {"[" + one("floor", "0") + "]", `headroom:schedules[0].floor is "0"; must be a whole number from 1 to 1000`},
		"a floor above":    {"[" + one("floor", "11") + "]", `headroom:schedules[0].floor is "11"; must be at most headroom:maxReplicas, which is 10`},
		"too many":         {"[" + strings.Repeat(one("", "")+",", 100) + one("", "") + "]", `headroom:schedules is "101 schedules"; must be at most 100`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(written("schedules="+test.schedules), project())
			require.ErrorContains(t, err, test.message)
		})
	}
}
