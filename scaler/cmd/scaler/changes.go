package main

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// changes lists the keys of two configs whose values differ, with both. Keys are
// the names of fields, as the file spells them.
func changes(key string, old, changed reflect.Value) []string {
	if old.Kind() == reflect.Struct {
		var out []string
		for i := range old.NumField() {
			if field := old.Type().Field(i); field.IsExported() {
				out = append(out, changes(strings.TrimPrefix(key+"."+spelt(field.Name), "."), old.Field(i), changed.Field(i))...)
			}
		}
		return out
	}
	if reflect.DeepEqual(old.Interface(), changed.Interface()) {
		return nil
	}
	if old.Kind() == reflect.Slice {
		return []string{fmt.Sprintf("%s: %d → %d entries, of which some differ", key, old.Len(), changed.Len())}
	}
	return []string{fmt.Sprintf("%s: %v → %v", key, old.Interface(), changed.Interface())}
}

// spelt is a field's name as a key: APIVersion is apiVersion, SLO is slo.
func spelt(field string) string {
	name := []rune(field)
	for i := range name {
		word := i > 0 && i+1 < len(name) && unicode.IsLower(name[i+1]) // begins here
		if !unicode.IsUpper(name[i]) || word {
			break
		}
		name[i] = unicode.ToLower(name[i])
	}
	return string(name)
}
