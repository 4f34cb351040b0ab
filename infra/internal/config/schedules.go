package config

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
	_ "time/tzdata" // time zones are checked, and a machine may have none
)

// Schedule is a least number of model servers at times that are known
// beforehand.
type Schedule struct {
	Name     string // a DNS label, of one schedule only
	Cron     string // when it begins: five fields
	Timezone string // whose clocks Cron means
	Duration time.Duration
	Floor    int
}

const schedulesKey = "schedules"

// schedules reads the list, which the engine hands over as JSON.
func (r *reader) schedules() []Schedule {
	var written []struct {
		Name, Cron, Timezone, Duration string
		Floor                          int
	}
	if !r.decode(schedulesKey, "a list of {name, cron, timezone, duration, floor}", &written) {
		return nil
	}
	var schedules []Schedule
	for i, w := range written {
		if w.Timezone == "" {
			w.Timezone = "UTC"
		}
		duration := r.parseDuration(entry(i, "duration"), w.Duration, 0)
		schedules = append(schedules, Schedule{Name: w.Name, Cron: w.Cron, Timezone: w.Timezone, Duration: duration, Floor: w.Floor})
	}
	return schedules
}

// entry is the key of a schedule's part.
func entry(i int, part string) string { return item(schedulesKey, i) + "." + part }

// cronFields matches what can be a cron expression; whether each number is one
// that its field has is left to the scaler.
var cronFields = regexp.MustCompile(`^[0-9A-Za-z*/,?-]+( +[0-9A-Za-z*/,?-]+){4}$`)

func (v *validator) schedules(c Config) {
	schedules := c.Custom.Schedules
	v.rule(len(schedules) <= 100, schedulesKey, fmt.Sprintf("%d schedules", len(schedules)), "must be at most 100")
	names := map[string]bool{}
	for i, s := range schedules {
		v.rule(dnsLabel.MatchString(s.Name) && !names[s.Name], entry(i, "name"), s.Name,
			"must be lower-case letters, digits and -, and the name of no other schedule")
		names[s.Name] = true
		v.rule(cronFields.MatchString(s.Cron), entry(i, "cron"), s.Cron,
			`must be minute, hour, day of the month, month and day of the week, such as "30 7 * * MON-FRI"`)
		_, err := time.LoadLocation(s.Timezone)
		v.rule(err == nil && s.Timezone != "Local", entry(i, "timezone"), s.Timezone,
			"must be an IANA time zone, such as UTC or Europe/Berlin")
		v.between(entry(i, "duration"), s.Duration, time.Minute, 7*24*time.Hour)
		v.within(entry(i, "floor"), s.Floor, 1, 1000)
		if v.sound(entry(i, "floor"), "maxReplicas") {
			v.rule(s.Floor <= c.MaxReplicas, entry(i, "floor"), strconv.Itoa(s.Floor),
				fmt.Sprintf("must be at most headroom:maxReplicas, which is %d", c.MaxReplicas))
		}
	}
}
