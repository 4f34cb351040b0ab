package config

import (
	"strings"
	"testing"
	"time"
)

func schedule(t *testing.T, name, cron, zone string, duration time.Duration, floor int) Schedule {
	t.Helper()
	s, err := NewSchedule(name, cron, zone, duration, floor)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFloor(t *testing.T) {
	// Clocks in Berlin went from 2:00 to 3:00 on 31 March 2024, at 1:00 UTC, and from
	// 3:00 to 2:00 on 27 October 2024, at 1:00 UTC.
	mornings := schedule(t, "mornings", "30 7 * * MON-FRI", "Europe/Berlin", 2*time.Hour, 4)
	nights := schedule(t, "nights", "0 22 * * *", "Europe/Berlin", 8*time.Hour, 2)
	batch := schedule(t, "batch", "30 2 * * *", "Europe/Berlin", 20*time.Minute, 6)
	week := schedule(t, "week", "0 0 * * 1", "UTC", 7*24*time.Hour, 3)
	quarters := schedule(t, "quarters", "*/15 * * * *", "UTC", time.Hour, 1)
	equal := schedule(t, "equal", "30 7 * * *", "Europe/Berlin", time.Hour, 4)
	leap := schedule(t, "leap", "0 0 29 2 *", "UTC", time.Hour, 9)
	midnight := schedule(t, "midnight", "0 0 * * *", "America/Sao_Paulo", time.Hour, 5)

	for _, tc := range []struct {
		name  string
		now   string // RFC 3339
		in    []Schedule
		floor int
		by    string
	}{
		{"no schedules, no floor", "2024-05-06T08:00:00Z", nil, 0, ""},
		{"a schedule that nobody made is never in force", "2024-05-06T08:00:00Z", []Schedule{{Name: "literal", Floor: 3}}, 0, ""},
		{"a nanosecond before it begins", "2024-05-06T05:29:59.999999999Z", []Schedule{mornings}, 0, ""},
		{"it is in force from its beginning on", "2024-05-06T05:30:00Z", []Schedule{mornings}, 4, "mornings"},
		{"and within the second", "2024-05-06T05:30:00.5Z", []Schedule{mornings}, 4, "mornings"},
		{"until just before its end", "2024-05-06T07:29:59.999999999Z", []Schedule{mornings}, 4, "mornings"},
		{"and not at its end", "2024-05-06T07:30:00Z", []Schedule{mornings}, 0, ""},
		{"what zone the present is told in makes no difference", "2024-05-06T14:30:00+09:00", []Schedule{mornings}, 4, "mornings"},
		{"not on a Sunday", "2024-05-05T06:00:00Z", []Schedule{mornings}, 0, ""},
		{"an hour later in winter, as clocks are in the zone", "2024-01-08T06:29:00Z", []Schedule{mornings}, 0, ""},
		{"and then in force", "2024-01-08T06:30:00Z", []Schedule{mornings}, 4, "mornings"},
		{"the highest floor counts", "2024-05-06T06:00:00Z", []Schedule{week, mornings, quarters}, 4, "mornings"},
		{"of equal floors the first is named", "2024-05-06T06:00:00Z", []Schedule{equal, mornings}, 4, "equal"},
		{"a week from one Monday to the next has no gap", "2024-05-12T23:59:59Z", []Schedule{week}, 3, "week"},
		{"beginnings that overlap are one time in force", "2024-05-06T08:14:59Z", []Schedule{quarters}, 1, "quarters"},
		{"a leap day comes", "2028-02-29T00:30:00Z", []Schedule{leap}, 9, "leap"},
		{"and is more than five years away at times", "2096-03-01T00:30:00Z", []Schedule{leap}, 0, ""},

		{"the night that summer time starts: 8 hours end an hour later by the clock", "2024-03-31T04:59:59Z", []Schedule{nights}, 2, "nights"},
		{"that is at 7:00", "2024-03-31T05:00:00Z", []Schedule{nights}, 0, ""},
		{"that night the clock skips 2:30: nothing begins", "2024-03-31T01:00:00Z", []Schedule{batch}, 0, ""},
		{"nor an hour later", "2024-03-31T01:30:00Z", []Schedule{batch}, 0, ""},
		{"the night before it began at 2:30", "2024-03-30T01:30:00Z", []Schedule{batch}, 6, "batch"},
		{"the night after too, an hour earlier in UTC", "2024-04-01T00:30:00Z", []Schedule{batch}, 6, "batch"},
		{"the night that summer time ends: 8 hours end an hour earlier by the clock", "2024-10-27T03:59:59Z", []Schedule{nights}, 2, "nights"},
		{"that is at 5:00", "2024-10-27T04:00:00Z", []Schedule{nights}, 0, ""},
		{"that night the clock shows 2:30 twice: it begins in summer time", "2024-10-27T00:30:00Z", []Schedule{batch}, 6, "batch"},
		{"it ends between them", "2024-10-27T00:50:00Z", []Schedule{batch}, 0, ""},
		{"and begins again in winter time", "2024-10-27T01:30:00Z", []Schedule{batch}, 6, "batch"},
		{"a zone without a midnight that night has no beginning at one", "2018-11-04T03:30:00Z", []Schedule{midnight}, 0, ""},
		{"and has the next", "2018-11-05T02:30:00Z", []Schedule{midnight}, 5, "midnight"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339Nano, tc.now)
			if err != nil {
				t.Fatal(err)
			}
			if floor, by := Floor(tc.in, now); floor != tc.floor || by != tc.by {
				t.Errorf("%d by %q, want %d by %q", floor, by, tc.floor, tc.by)
			}
		})
	}
}

func TestASchedulesProblemsAreAllSaid(t *testing.T) {
	_, err := NewSchedule("nights", "0 25 * * *", "Mars", time.Hour, 1)
	if err == nil || !strings.Contains(err.Error(), "0 25 * * *") || !strings.Contains(err.Error(), "Mars") {
		t.Errorf("%v, want the cron expression and the zone named", err)
	}
}

func TestSchedulesFromAFile(t *testing.T) {
	const head = "target: {namespace: ns, name: web}\nprometheus: {url: \"http://p:9090\"}\nschedules:\n"
	c, problems := Parse([]byte(head + `
- {name: mornings, cron: "30 7 * * MON-FRI", timezone: Europe/Berlin, duration: 2h, floor: 4}
- name: nights
  cron: 0 22 * * *
  duration: 8h
  floor: 2`))
	if problems != nil {
		t.Fatal(problems)
	}
	want := []Schedule{
		{Name: "mornings", Cron: "30 7 * * MON-FRI", Timezone: "Europe/Berlin", Duration: 2 * time.Hour, Floor: 4},
		{Name: "nights", Cron: "0 22 * * *", Timezone: "UTC", Duration: 8 * time.Hour, Floor: 2},
	}
	if len(c.Schedules) != 2 || !c.Schedules[0].equal(want[0]) || !c.Schedules[1].equal(want[1]) {
		t.Errorf("%+v, want %+v", c.Schedules, want)
	}
	if floor, by := Floor(c.Schedules, time.Date(2024, 5, 6, 5, 30, 0, 0, time.UTC)); floor != 4 || by != "mornings" {
		t.Errorf("%d by %q, want 4 by mornings", floor, by)
	}
	other, problems := Parse([]byte(head + `
- {name: mornings, cron: "30 8 * * MON-FRI", timezone: Europe/Berlin, duration: 2h, floor: 4}
- {name: nights, cron: 0 22 * * *, duration: 8h, floor: 2}`))
	if problems != nil || c.Equal(other) {
		t.Errorf("configs that differ in a schedule are equal: %+v, %v", other, problems)
	}
}
