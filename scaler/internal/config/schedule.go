package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule is a least count for times that are known beforehand. [NewSchedule]
// makes one; the zero value is never in force.
type Schedule struct {
	Name string
	// Cron says when it begins: minute, hour, day of the month, month and day of
	// the week, as clocks in Timezone show them.
	Cron, Timezone string
	// Duration is how long it is in force after each beginning, in time that
	// passes, whatever clocks do meanwhile.
	Duration time.Duration
	// Floor is the least count while it is in force.
	Floor int

	starts cron.Schedule
}

// NewSchedule makes a Schedule. It errs where the cron expression has not five
// fields or never happens, and where the zone is unknown.
func NewSchedule(name, expression, timezone string, duration time.Duration, floor int) (Schedule, error) {
	starts, cronErr := parseCron(expression)
	zone, zoneErr := parseZone(timezone)
	if err := errors.Join(cronErr, zoneErr); err != nil {
		return Schedule{}, err
	}
	starts.Location = zone
	return Schedule{Name: name, Cron: expression, Timezone: timezone, Duration: duration, Floor: floor, starts: starts}, nil
}

func (s Schedule) equal(other Schedule) bool {
	s.starts, other.starts = nil, nil
	return s == other
}

// inForce tells whether a beginning lies in (now − Duration, now]. A beginning
// that the clock skips when summer time starts doesn't happen; one that it shows
// twice when summer time ends happens twice.
func (s Schedule) inForce(now time.Time) bool {
	if s.starts == nil {
		return false
	}
	start := s.starts.Next(now.Add(-s.Duration))
	return !start.IsZero() && !start.After(now)
}

// Floor is the highest floor of the schedules in force at the time now, with the
// schedule's name; 0 and "" where there is none. Of equal ones the first is named.
func Floor(schedules []Schedule, now time.Time) (floor int, name string) {
	for _, s := range schedules {
		if s.Floor > floor && s.inForce(now) {
			floor, name = s.Floor, s.Name
		}
	}
	return floor, name
}

var cronParser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// parseCron reads five fields. The library takes a zone in front of them too,
// which has a key of its own here, and lists with nothing between two commas.
func parseCron(expression string) (*cron.SpecSchedule, error) {
	if strings.Contains(expression, "=") {
		return nil, fmt.Errorf("cron %q: must have five fields and no zone", expression)
	}
	for _, field := range strings.Fields(expression) {
		if strings.Contains(","+field+",", ",,") {
			return nil, fmt.Errorf("cron %q: the list %s has an empty entry", expression, field)
		}
	}
	parsed, err := cronParser.Parse(expression)
	if err != nil {
		return nil, fmt.Errorf("cron %q: %w", expression, err)
	}
	starts, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("cron %q: must have five fields", expression)
	}
	// Four years from here are a leap year and three others.
	if starts.Location = time.UTC; starts.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Second)).IsZero() {
		return nil, fmt.Errorf("cron %q: never happens", expression)
	}
	return starts, nil
}

// parseZone refuses the machine's own zone: it isn't what the file's author sees.
func parseZone(timezone string) (*time.Location, error) {
	if timezone == "" || timezone == "Local" {
		return nil, fmt.Errorf("timezone %q: must be an IANA name", timezone)
	}
	zone, err := time.LoadLocation(timezone)
	if err != nil {
		return nil, fmt.Errorf("timezone %q: %w", timezone, err)
	}
	return zone, nil
}

// schedules are the entries of the list while it is read.
type schedules struct{ entries []*Schedule }

// item makes an entry and says which keys it has.
func (s *schedules) item() map[string]key {
	entry := &Schedule{Timezone: "UTC"}
	s.entries = append(s.entries, entry)
	return map[string]key{
		"name":     {name(&entry.Name), true},
		"cron":     {cronExpression(&entry.Cron), true},
		"timezone": {timezone(&entry.Timezone), false},
		"duration": {duration(&entry.Duration, time.Minute, 7*24*time.Hour), true},
		"floor":    {integer(&entry.Floor, 1, maxReplicas), true},
	}
}

// done returns the entries as they are, bad ones among them: what is bad has
// been said.
func (s *schedules) done() []Schedule {
	var out []Schedule
	for _, e := range s.entries {
		if made, err := NewSchedule(e.Name, e.Cron, e.Timezone, e.Duration, e.Floor); err == nil {
			*e = made
		}
		out = append(out, *e)
	}
	return out
}

func cronExpression(to *string) setter {
	const allowed = `the five fields minute, hour, day of the month, month and day of the week, such as "30 7 * * MON-FRI", of a time that comes`
	return func(s string) (string, bool) {
		if _, err := parseCron(s); err != nil {
			return allowed, false
		}
		*to = s
		return allowed, true
	}
}

func timezone(to *string) setter {
	return func(s string) (string, bool) {
		if _, err := parseZone(s); err != nil {
			return "an IANA time zone such as UTC or Europe/Berlin", false
		}
		*to = s
		return "", true
	}
}
