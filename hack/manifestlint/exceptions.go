package main

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// exception lets findings pass. Its parts may have wildcards, as in a shell.
type exception struct {
	line                          int
	stack, check, object, because string
}

func (e exception) covers(f finding) bool {
	for _, part := range [][2]string{{e.stack, f.stack}, {e.check, f.check}, {e.object, f.object}} {
		// In names of objects a / is nothing special.
		matched, err := path.Match(strings.ReplaceAll(part[0], "/", "|"), strings.ReplaceAll(part[1], "/", "|"))
		if err != nil || !matched {
			return false
		}
	}
	return true
}

type exceptions struct {
	file string
	list []exception
}

// readExceptions reads lines of stack, check, object and the reason, with
// spaces between them. Empty lines and those that begin with # are none.
func readExceptions(file string) (exceptions, error) {
	all := exceptions{file: file}
	if file == "" {
		return all, nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return exceptions{}, err
	}
	for i, line := range strings.Split(string(content), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 5 {
			return exceptions{}, fmt.Errorf("%s:%d: must be stack, check, object and a reason", file, i+1)
		}
		all.list = append(all.list, exception{
			line: i + 1, stack: fields[0], check: fields[1], object: fields[2], because: strings.Join(fields[3:], " "),
		})
	}
	return all, nil
}

// apply gives the findings that no exception covers, and the exceptions that
// cover none.
func (e exceptions) apply(findings []finding) []string {
	used := make([]bool, len(e.list))
	var left []string
	for _, f := range findings {
		covered := false
		for i, exception := range e.list {
			if exception.covers(f) {
				covered, used[i] = true, true
			}
		}
		if !covered {
			left = append(left, f.String())
		}
	}
	slices.Sort(left)
	for i, exception := range e.list {
		if !used[i] {
			left = append(left, fmt.Sprintf("%s:%d: lets nothing pass: remove the line", e.file, exception.line))
		}
	}
	return left
}
