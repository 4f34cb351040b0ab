package host

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// families are the commands of the packet filter, per address family.
var families = []string{"iptables", "ip6tables"}

// Chains are the packet filter chains whose names begin with one of the
// prefixes, as "COMMAND TABLE CHAIN".
func Chains(prefixes ...string) ([]string, error) {
	var found []string
	for _, family := range families {
		saved, err := save(family)
		if err != nil {
			return nil, err
		}
		for _, t := range parseTables(saved) {
			for _, chain := range t.chains {
				if hasPrefix(chain, prefixes) {
					found = append(found, family+" "+t.name+" "+chain)
				}
			}
		}
	}
	return found, nil
}

// RemoveChains removes the packet filter chains whose names begin with one of
// the prefixes, and the rules of other chains that jump to them.
func RemoveChains(prefixes ...string) error {
	var failed error
	for _, family := range families {
		saved, err := save(family)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if script := removal(saved, prefixes); script != "" {
			failed = errors.Join(failed, restore(family, script))
		}
	}
	return failed
}

// AddChains loads a script in the format of iptables-restore(8) for IPv4 beside
// the rules that are there.
func AddChains(script string) error {
	return restore("iptables", script)
}

// save prints the rules of a family; none where the machine does not have it.
func save(family string) ([]byte, error) {
	if _, err := exec.LookPath(family + "-save"); err != nil {
		return nil, nil
	}
	out, err := exec.Command(family + "-save").Output()
	if err != nil {
		return nil, fmt.Errorf("read packet filter rules with %s-save: %w", family, withStderr(err))
	}
	return out, nil
}

func restore(family, script string) error {
	command := exec.Command(family+"-restore", "--noflush", "--wait", "10")
	command.Stdin = strings.NewReader(script)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("change packet filter rules with %s-restore: %w: %s", family, err, bytes.TrimSpace(out))
	}
	return nil
}

func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return err
}

func hasPrefix(chain string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(chain, prefix) })
}

// table is one table of what iptables-save prints.
type table struct {
	name   string
	chains []string
	rules  []string
}

func parseTables(saved []byte) []table {
	var tables []table
	lines := bufio.NewScanner(bytes.NewReader(saved))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "*"):
			tables = append(tables, table{name: line[1:]})
		case len(tables) == 0:
		case strings.HasPrefix(line, ":"):
			chain, _, _ := strings.Cut(line[1:], " ")
			last := &tables[len(tables)-1]
			last.chains = append(last.chains, chain)
		case strings.HasPrefix(line, "-A "):
			last := &tables[len(tables)-1]
			last.rules = append(last.rules, line)
		}
	}
	return tables
}

// removal is the iptables-restore script that removes from the saved rules the
// chains with these prefixes and what jumps to them; empty where there is
// nothing to remove.
func removal(saved []byte, prefixes []string) string {
	var script strings.Builder
	for _, t := range parseTables(saved) {
		chains := slices.DeleteFunc(slices.Clone(t.chains), func(chain string) bool { return !hasPrefix(chain, prefixes) })
		if len(chains) == 0 {
			continue
		}
		fmt.Fprintf(&script, "*%s\n", t.name)
		for _, chain := range chains {
			fmt.Fprintf(&script, ":%s - [0:0]\n", chain) // declaring a chain empties it
		}
		for _, rule := range t.rules {
			if from, to := ends(rule); !hasPrefix(from, prefixes) && hasPrefix(to, prefixes) {
				fmt.Fprintf(&script, "-D %s\n", strings.TrimPrefix(rule, "-A "))
			}
		}
		for _, chain := range chains {
			fmt.Fprintf(&script, "-X %s\n", chain)
		}
		script.WriteString("COMMIT\n")
	}
	return script.String()
}

// ends are the chain that a saved rule lies in and the one that it jumps to.
func ends(rule string) (from, to string) {
	fields := strings.Fields(rule)
	for i := 0; i+1 < len(fields); i++ {
		switch fields[i] {
		case "-A":
			from = fields[i+1]
		case "-j", "-g":
			to = fields[i+1]
		}
	}
	return from, to
}
