package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// A key is one that a file may have: how its value is read, and whether it must be there.
type key struct {
	set      setter
	required bool
}

// A list is one of mappings: how many it may have, and what makes an entry and
// says its keys.
type list struct {
	most int
	item func() map[string]key
}

// A words key is a list of texts: how many it may have, and how they are checked
// and taken all together.
type words struct {
	most int
	set  func(values []string) (allowed string, ok bool)
}

// item is what the keys of a list's entry begin with.
func item(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]." }

type reader struct {
	keys     map[string]key // by path, such as replicas.max
	lists    map[string]list
	words    map[string]words
	sections map[string]bool // what the file has at its top
	seen     map[string]bool
	bad      map[string]bool
	problems []string
}

func (r *reader) problem(format string, args ...any) {
	r.problems = append(r.problems, oneLine(fmt.Sprintf(format, args...)))
}

// oneLine keeps a problem to one line of a bearable length, whatever the file has in it.
func oneLine(s string) string {
	return cut(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, s), 500)
}

// cut ends a string after so many bytes.
func cut(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func (r *reader) read(text []byte) {
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return // an empty file lacks its required keys, which is said
	case err != nil:
		r.notYAML(err)
		return
	}
	switch err := dec.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.notYAML(err)
		return
	default:
		r.problem("line %d: a second YAML document, and one is allowed", more.Line)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return
	}
	r.mapping("", root)
}

func (r *reader) notYAML(err error) {
	r.problem("not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	for k := range r.keys {
		r.seen[k] = true // whether a key is there can't be told
	}
}

func (r *reader) mapping(prefix string, node *yaml.Node) {
	if node.Kind != yaml.MappingNode {
		where := "the file"
		if prefix != "" {
			where = strings.TrimSuffix(prefix, ".")
		}
		r.problem("line %d: %s: must be a mapping with the keys %s", node.Line, where, r.allowed(prefix))
		r.giveUp(prefix)
		return
	}
	own := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		k, v := node.Content[i], node.Content[i+1]
		path := prefix + k.Value
		if prefix == "" {
			r.sections[k.Value] = true
		}
		field, leaf := r.keys[path]
		many, isList := r.lists[path]
		texts, isWords := r.words[path]
		switch {
		case own[k.Value]:
			r.problem("line %d: %s: given twice", k.Line, path)
		case strings.ContainsAny(k.Value, ".[]"):
			r.unknown(prefix, k) // a path is no key
		case leaf:
			r.seen[path] = true
			r.scalar(path, field, v)
		case isList:
			r.list(path, many, v)
		case isWords:
			r.seen[path] = true
			r.text(path, texts, v)
		case r.section(path + "."):
			r.mapping(path+".", v)
		default:
			r.unknown(prefix, k)
		}
		own[k.Value] = true
	}
}

// giveUp keeps keys from being missed whose section could not be read.
func (r *reader) giveUp(prefix string) {
	for k := range r.keys {
		if strings.HasPrefix(k, prefix) {
			r.seen[k], r.bad[k] = true, true
		}
	}
	for k := range r.words {
		if strings.HasPrefix(k, prefix) {
			r.seen[k], r.bad[k] = true, true
		}
	}
}

func (r *reader) unknown(prefix string, k *yaml.Node) {
	r.problem("line %d: %s: unknown key; allowed here: %s", k.Line, prefix+k.Value, r.allowed(prefix))
}

func (r *reader) list(path string, many list, node *yaml.Node) {
	switch {
	case node.Kind != yaml.SequenceNode:
		r.problem("line %d: %s: must be a list of mappings", node.Line, path)
		return
	case len(node.Content) > many.most:
		r.problem("line %d: %s: has %d entries, at most %d are allowed", node.Line, path, len(node.Content), many.most)
		return
	}
	for i, entry := range node.Content {
		prefix := item(path, i)
		for k, field := range many.item() {
			r.keys[prefix+k] = field
		}
		r.mapping(prefix, entry)
	}
}

func (r *reader) text(path string, texts words, node *yaml.Node) {
	var values []string
	strange := node.Kind != yaml.SequenceNode || len(node.Content) > texts.most
	for _, v := range node.Content {
		strange = strange || v.Kind != yaml.ScalarNode || v.Tag == "!!null"
		values = append(values, v.Value)
	}
	if strange {
		values = nil
	}
	if allowed, ok := texts.set(values); !ok {
		r.bad[path] = true
		r.problem("line %d: %s: must be a list of 1 to %d texts, %s", node.Line, path, texts.most, allowed)
	}
}

func (r *reader) scalar(path string, field key, node *yaml.Node) {
	value, shown := node.Value, cut(node.Value, 200) // so that there is room for what is allowed
	switch {
	case node.Kind != yaml.ScalarNode:
		value, shown = "", "a list, mapping or alias"
	case node.Tag == "!!null" || value == "":
		value, shown = "", "nothing"
	}
	allowed, ok := field.set(value)
	if !ok || node.Kind != yaml.ScalarNode { // an empty value can be allowed, a list can't
		r.bad[path] = true
		r.problem("line %d: %s: %s is not allowed, must be %s", node.Line, path, shown, allowed)
	}
}

func (r *reader) section(prefix string) bool {
	for k := range r.keys {
		if strings.HasPrefix(k, prefix) {
			return true
		}
	}
	return false
}

// allowed lists the keys directly under a prefix.
func (r *reader) allowed(prefix string) string {
	names := map[string]bool{}
	for k := range r.keys {
		if rest, ok := strings.CutPrefix(k, prefix); ok {
			top, _, _ := strings.Cut(rest, ".")
			names[top] = true
		}
	}
	for k := range r.lists {
		if rest, ok := strings.CutPrefix(k, prefix); ok {
			names[rest] = true
		}
	}
	for k := range r.words {
		if rest, ok := strings.CutPrefix(k, prefix); ok {
			top, _, _ := strings.Cut(rest, ".")
			names[top] = true
		}
	}
	maps.DeleteFunc(names, func(name string, _ bool) bool { return strings.Contains(name, "[") }) // entries of a list
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}

func (r *reader) missing() {
	var names []string
	for k, field := range r.keys {
		if field.required && !r.seen[k] {
			names = append(names, k)
			r.bad[k] = true
		}
	}
	slices.Sort(names)
	for _, k := range names {
		allowed, _ := r.keys[k].set("")
		r.problem("%s: missing, must be %s", k, allowed)
	}
}
