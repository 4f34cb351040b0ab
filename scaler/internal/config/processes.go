package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Processes is a target of processes on this machine, instead of one in Kubernetes.
type Processes struct {
	// Command is the program of a replica and its arguments. In these, $address is
	// replaced by the replica's host:Port, $metrics by its host:MetricsPort, and
	// $cpuMax by the file that tells its CPU limit. Empty: the target is in Kubernetes.
	Command []string
	// Network is where each replica gets an address of its own, as a pod does: a part
	// of 127.0.0.0/8, which on Linux needs no setting up.
	Network netip.Prefix
	// Port is where a replica takes requests, MetricsPort where it is scraped.
	Port, MetricsPort int
	// Readiness is the path that answers 200 at Port when a replica is ready.
	Readiness string
	// CPU is the cores that a replica may use, 0 for as many as there are.
	CPU float64
	// Folder is for the list of the replicas, replicas.json, and their CPU limits.
	Folder string
	// Drain is how long a replica may take to end before it is killed.
	Drain time.Duration
}

// Given tells whether the target is processes.
func (p Processes) Given() bool { return len(p.Command) > 0 }

func defaultProcesses() Processes {
	return Processes{
		Network: netip.MustParsePrefix("127.8.0.0/24"), Port: 6001, MetricsPort: 8001,
		Readiness: "/readyz", Drain: 10 * time.Second,
	}
}

const (
	processesPrefix = "processes."
	mostWords       = 100 // of a command
)

// The variables of a command.
const (
	AddressVariable = "$address"
	MetricsVariable = "$metrics"
	CPUMaxVariable  = "$cpuMax"
)

// keys adds the keys of the section to those that a file may have.
func (p *Processes) keys(r *reader) {
	for k, field := range map[string]key{
		"network":     {loopback(&p.Network), false},
		"port":        {integer(&p.Port, 1024, 65535), false},
		"metricsPort": {integer(&p.MetricsPort, 1024, 65535), false},
		"readiness":   {text(&p.Readiness, 200, urlPath, "a path such as /readyz"), false},
		"cpu":         {cores(&p.CPU), false},
		"folder":      {folder(&p.Folder), false},
		"drain":       {duration(&p.Drain, 0, 10*time.Minute), false},
	} {
		r.keys[processesPrefix+k] = field
	}
	r.words[processesPrefix+"command"] = words{most: mostWords, set: p.setCommand}
}

// setCommand takes a command, of which every replica must learn its address.
func (p *Processes) setCommand(values []string) (string, bool) {
	known := []string{AddressVariable, MetricsVariable, CPUMaxVariable}
	allowed := "the program and its arguments, in which " + AddressVariable + " must be, and no other variables than " + strings.Join(known, ", ")
	if len(values) == 0 || values[0] == "" || !slices.ContainsFunc(values[1:], func(v string) bool { return strings.Contains(v, AddressVariable) }) {
		return allowed, false
	}
	for _, v := range values {
		for _, variable := range Variable.FindAllString(v, -1) {
			if !slices.Contains(known, variable) {
				return allowed, false
			}
		}
	}
	p.Command = values
	return allowed, true
}

// choose settles which of the two targets it is, and what each has to have.
func (c *Config) choose(r *reader) {
	if !r.sections["processes"] {
		c.Processes = Processes{}
		if c.Target.Resource == "" {
			c.Target.Resource = strings.ToLower(c.Target.Kind) + "s"
		}
		return
	}
	for _, section := range []string{"target", "lease", "state"} {
		if r.sections[section] {
			r.problem("%s: not allowed beside processes, as it is about Kubernetes", section)
		}
		for k, field := range r.keys {
			if strings.HasPrefix(k, section+".") {
				field.required = false
				r.keys[k] = field
			}
		}
	}
	c.Target, c.Lease, c.State = Target{}, Lease{}, State{}
	if field := r.keys[processesPrefix+"folder"]; !r.seen[processesPrefix+"folder"] {
		field.required = true
		r.keys[processesPrefix+"folder"] = field
	}
	if path := processesPrefix + "command"; !r.seen[path] {
		allowed, _ := c.Processes.setCommand(nil)
		r.problem("%s: missing, must be a list of 1 to %d texts, %s", path, mostWords, allowed)
	}
}

// checkProcesses adds the problems that lie between keys.
func (c *Config) checkProcesses(r *reader, good func(...string) bool) {
	p := &c.Processes
	if !r.sections["processes"] {
		return
	}
	// A replica that ends still has its address when the next one starts.
	if good("processes.network", "replicas.max") && p.addresses() < 2*c.Replicas.Max {
		r.problem("processes.network: %s has %d addresses, must have at least twice replicas.max, which is %d", p.Network, p.addresses(), c.Replicas.Max)
	}
	if good("processes.port", "processes.metricsPort") && p.Port == p.MetricsPort {
		r.problem("processes.metricsPort: %d is processes.port too, must be another", p.MetricsPort)
	}
	if limited := slices.ContainsFunc(p.Command, func(v string) bool { return strings.Contains(v, CPUMaxVariable) }); good("processes.cpu") && limited && p.CPU == 0 {
		r.problem("processes.command: has %s, for which processes.cpu must be more than 0", CPUMaxVariable)
	}
}

// addresses is how many the network has, without its first and its last.
func (p *Processes) addresses() int { return 1<<(32-p.Network.Bits()) - 2 }

var urlPath = regexp.MustCompile(`^/[-A-Za-z0-9._~/]*$`)

// cores are 0 for no limit, or as much of a core as a period of 100 ms can be
// divided into.
func cores(to *float64) setter {
	const least, most = 0.01, 64
	set := number(to, least, most)
	return func(s string) (string, bool) {
		if s == "0" {
			*to = 0
			return "", true
		}
		_, ok := set(s)
		return fmt.Sprintf("a number of cores from %g to %d, or 0 for no limit", least, most), ok
	}
}

func loopback(to *netip.Prefix) setter {
	all := netip.MustParsePrefix("127.0.0.0/8")
	return func(s string) (string, bool) {
		n, err := netip.ParsePrefix(s)
		if err != nil || n.Bits() < 8 || n.Bits() > 30 || !all.Contains(n.Addr()) || n != n.Masked() {
			return fmt.Sprintf("a network in %s of 8 to 30 bits, such as 127.8.0.0/24", all), false
		}
		*to = n
		return "", true
	}
}

func folder(to *string) setter {
	return func(s string) (string, bool) {
		const allowed = "the absolute path of a folder"
		if !filepath.IsAbs(s) {
			return allowed, false
		}
		*to = filepath.Clean(s)
		return allowed, true
	}
}
