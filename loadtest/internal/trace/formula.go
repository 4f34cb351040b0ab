package trace

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setting is a value in a formula: a rate in requests per second, or whole seconds.
type setting struct {
	name    string
	seconds bool
	// lowest of seconds that is allowed.
	lowest int
}

func rate(name string) setting { return setting{name: name} }

// seconds from lowest up.
func lasting(name string, lowest int) setting {
	return setting{name: name, seconds: true, lowest: lowest}
}

// formula is a way to work out a rate for each second.
type formula struct {
	name     string
	settings []setting
	// rate is that at an instant, in seconds from the start. It is asked for the
	// middle of each second, where a straight line has that second's mean.
	rate func(at float64, v map[string]float64) float64
}

// length is a setting of all.
var length = lasting("length", 1)

var formulas = []formula{
	{"constant", []setting{rate("rate"), length}, func(_ float64, v map[string]float64) float64 { return v["rate"] }},
	{"step", []setting{rate("from"), rate("to"), lasting("at", 0), length}, func(at float64, v map[string]float64) float64 {
		if at < v["at"] {
			return v["from"]
		}
		return v["to"]
	}},
	{"ramp", []setting{rate("from"), rate("to"), length}, func(at float64, v map[string]float64) float64 {
		return v["from"] + (v["to"]-v["from"])*at/v["length"]
	}},
	{"sine", []setting{rate("mean"), rate("amplitude"), lasting("period", 2), length}, func(at float64, v map[string]float64) float64 {
		return v["mean"] + v["amplitude"]*math.Sin(2*math.Pi*at/v["period"])
	}},
	{"spike", []setting{rate("base"), rate("peak"), lasting("at", 0), lasting("width", 1), length}, func(at float64, v map[string]float64) float64 {
		if at >= v["at"] && at < v["at"]+v["width"] {
			return v["peak"]
		}
		return v["base"]
	}},
}

// FormulaHelp says in one line which formulas there are.
const FormulaHelp = "constant:rate=20,length=60s, step:from=5,to=30,at=60s,length=180s, ramp:from=5,to=30,length=180s, " +
	"sine:mean=20,amplitude=10,period=60s,length=180s or spike:base=5,peak=50,at=60s,width=10s,length=180s"

// asFormula splits NAME:KEY=VALUE,… where NAME is that of a formula.
func asFormula(text string) (f formula, settings string, ok bool) {
	name, settings, ok := strings.Cut(text, ":")
	if !ok {
		return formula{}, "", false
	}
	i := slices.IndexFunc(formulas, func(f formula) bool { return f.name == name })
	if i < 0 {
		return formula{}, "", false
	}
	return formulas[i], settings, true
}

// evaluate returns the formula's rates, one a second.
func evaluate(f formula, text string) ([]float64, error) {
	var names []string
	for _, s := range f.settings {
		names = append(names, s.name)
	}
	values := map[string]float64{}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(pair, "=")
		i := slices.Index(names, key)
		if i < 0 {
			return nil, fmt.Errorf("%q: allowed are %s, each as NAME=VALUE", shown(pair), strings.Join(names, ", "))
		}
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("%s is given twice; allowed is once", key)
		}
		parsed, err := f.settings[i].parse(value)
		if err != nil {
			return nil, err
		}
		values[key] = parsed
	}
	for _, name := range names {
		if _, ok := values[name]; !ok {
			return nil, fmt.Errorf("%s is missing; needed are %s", name, strings.Join(names, ", "))
		}
	}
	if values["amplitude"] > values["mean"] {
		return nil, fmt.Errorf("amplitude %v: allowed are numbers up to the mean, %v", values["amplitude"], values["mean"])
	}
	if at, ok := values["at"]; ok && at >= values["length"] {
		return nil, fmt.Errorf("at %vs: allowed are whole seconds below the length, %vs", at, values["length"])
	}
	rates := make([]float64, int(values["length"]))
	for second := range rates {
		rates[second] = f.rate(float64(second)+0.5, values)
	}
	return rates, nil
}

func (s setting) parse(text string) (float64, error) {
	if !s.seconds {
		value, err := strconv.ParseFloat(text, 64)
		if err != nil || strings.Trim(text, "0123456789.") != "" || value > MaxRate {
			return 0, fmt.Errorf("%s %q: allowed are requests per second from 0 to %d", s.name, shown(text), MaxRate)
		}
		return value, nil
	}
	value, err := time.ParseDuration(text)
	if err != nil || value%time.Second != 0 || value < time.Duration(s.lowest)*time.Second || value > MaxSeconds*time.Second {
		return 0, fmt.Errorf("%s %q: allowed are whole seconds from %ds to %v", s.name, shown(text), s.lowest, MaxSeconds*time.Second)
	}
	return value.Seconds(), nil
}
