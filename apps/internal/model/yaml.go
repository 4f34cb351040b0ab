package model

import (
	"fmt"
	"math"
	"strings"

	"go.yaml.in/yaml/v3"
)

// field is one key of a mapping: where its value goes, what the value may be.
type field struct {
	key      string
	required bool
	read     func(path string, node *yaml.Node) []string
}

// readMapping reads node's keys into fields and returns what was wrong, one
// string a problem, each beginning with the key's path.
func readMapping(path string, node *yaml.Node, fields []field) []string {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode {
		return []string{fmt.Sprintf("%s: must be a mapping with the keys %s", where(path), keys(fields))}
	}
	prefix := ""
	if path != "" {
		prefix = path + "."
	}
	var problems []string
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, node.Content[i+1]
		known := false
		for _, f := range fields {
			if f.key != key {
				continue
			}
			known = true
			if seen[key] {
				problems = append(problems, fmt.Sprintf("%s%s: is given twice", prefix, key))
			} else {
				problems = append(problems, f.read(prefix+key, value)...)
			}
		}
		if !known {
			problems = append(problems, fmt.Sprintf("%s%s: unknown key; allowed: %s", prefix, key, keys(fields)))
		}
		seen[key] = true
	}
	for _, f := range fields {
		if f.required && !seen[f.key] {
			problems = append(problems, fmt.Sprintf("%s%s: is missing", prefix, f.key))
		}
	}
	return problems
}

func where(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

func keys(fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.key
	}
	return strings.Join(names, ", ")
}

// text reads a string that valid accepts; valid returns what is allowed, or
// nothing.
func text[T ~string](into *T, valid func(string) string) func(string, *yaml.Node) []string {
	return func(path string, node *yaml.Node) []string {
		var s string
		if node.Tag == "!!null" || node.Decode(&s) != nil {
			return []string{fmt.Sprintf("%s: must be a string", path)}
		}
		if allowed := valid(s); allowed != "" {
			return []string{fmt.Sprintf("%s: %q is not allowed; allowed: %s", path, s, allowed)}
		}
		*into = T(s)
		return nil
	}
}

// oneOf accepts the given words.
func oneOf[T ~string](words ...T) func(string) string {
	names := make([]string, len(words))
	for i, word := range words {
		names[i] = string(word)
	}
	return func(s string) string {
		for _, name := range names {
			if s == name {
				return ""
			}
		}
		return strings.Join(names, ", ")
	}
}

// integer reads a whole number in low..high.
func integer(into *int, low, high int) func(string, *yaml.Node) []string {
	return func(path string, node *yaml.Node) []string {
		var v int
		if node.Tag != "!!int" || node.Decode(&v) != nil || v < low || v > high {
			return []string{fmt.Sprintf("%s: %q is not allowed; allowed: a whole number from %d to %d", path, node.Value, low, high)}
		}
		*into = v
		return nil
	}
}

// number reads a finite number that is not zero.
func number(into *float64) func(string, *yaml.Node) []string {
	return func(path string, node *yaml.Node) []string {
		v, ok := finite(node)
		if !ok || v == 0 {
			return []string{fmt.Sprintf("%s: %q is not allowed; allowed: a finite number other than 0", path, node.Value)}
		}
		*into = v
		return nil
	}
}

// perChannel reads one or three finite numbers above low.
func perChannel(into *[]float64, low float64, allowed string) func(string, *yaml.Node) []string {
	return func(path string, node *yaml.Node) []string {
		if node.Kind != yaml.SequenceNode || len(node.Content) != 1 && len(node.Content) != 3 {
			return []string{fmt.Sprintf("%s: must be %s", path, allowed)}
		}
		*into = make([]float64, len(node.Content))
		for i, item := range node.Content {
			v, ok := finite(item)
			if !ok || v <= low {
				return []string{fmt.Sprintf("%s: %q is not allowed; must be %s", path, item.Value, allowed)}
			}
			(*into)[i] = v
		}
		return nil
	}
}

func finite(node *yaml.Node) (float64, bool) {
	var v float64
	if node.Tag != "!!int" && node.Tag != "!!float" || node.Decode(&v) != nil {
		return 0, false
	}
	return v, !math.IsInf(v, 0) && !math.IsNaN(v)
}
