package main

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// head begins the page.
const head = `# Configuration

<!-- Written by ` + "`make docs`" + ` out of Pulumi.yaml: edit that. -->

` + "```" + `
pulumi config set scaler hpa
pulumi config set --path 'schedules[0].floor' 4                        # in a list
pulumi config set --path 'modelServerNodeSelector["example.com/pool"]' inference   # in a map
pulumi config set --secret redisPassword                               # asks for it, and keeps it encrypted
` + "```" + `

sets a key of the selected stack, in ` + "`Pulumi.STACK.yaml`" + `, where it may be written by hand too. A key that
is not set, or is empty, has its default. Nothing is made of a configuration with a mistake in it: ` + "`pulumi preview`" + `
names every key that is wrong, its value and what is allowed, one a line, also a key that doesn't exist.
[stacks.md](stacks.md) has configurations to begin with.
`

// key is one setting as Pulumi.yaml declares it.
type key struct {
	Type        string
	Items       struct{ Type string }
	Description string
	Default     yaml.Node
}

// group is what stands below one comment in Pulumi.yaml.
type group struct {
	title string
	rows  []string
}

// render gives the page. A comment above a key begins a group; the order is
// that of the file.
func render(schema []byte) (string, error) {
	var file struct{ Config yaml.Node }
	if err := yaml.Unmarshal(schema, &file); err != nil {
		return "", err
	}
	if file.Config.Kind != yaml.MappingNode {
		return "", errors.New("there is no config")
	}
	var groups []group
	for i := 0; i < len(file.Config.Content); i += 2 {
		name, declared := file.Config.Content[i], file.Config.Content[i+1]
		if title := strings.TrimPrefix(name.HeadComment, "# "); title != "" {
			groups = append(groups, group{title: title})
		}
		if len(groups) == 0 {
			return "", fmt.Errorf("line %d: %s has no group: a comment above it names one", name.Line, name.Value)
		}
		row, err := rowOf(name.Value, declared)
		if err != nil {
			return "", fmt.Errorf("line %d: %w", name.Line, err)
		}
		last := &groups[len(groups)-1]
		last.rows = append(last.rows, row)
	}
	var page strings.Builder
	page.WriteString(head)
	for _, g := range groups {
		fmt.Fprintf(&page, "\n## %s\n\n| key | type | default | |\n|---|---|---|---|\n%s\n", g.title, strings.Join(g.rows, "\n"))
	}
	return page.String(), nil
}

func rowOf(name string, declared *yaml.Node) (string, error) {
	var k key
	if err := declared.Decode(&k); err != nil {
		return "", err
	}
	_, short, found := strings.Cut(name, ":")
	switch {
	case !found:
		return "", fmt.Errorf("the key %s is not of a project", name)
	case k.Description == "":
		return "", fmt.Errorf("%s has no description", name)
	}
	kind := k.Type
	if k.Items.Type != "" {
		kind += " of " + k.Items.Type
	}
	fallback, err := written(k.Default)
	if err != nil {
		return "", fmt.Errorf("the default of %s: %w", name, err)
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |", short, kind, fallback, strings.ReplaceAll(k.Description, "|", `\|`)), nil
}

// written is a default as one would write it in the stack's file.
func written(node yaml.Node) (string, error) {
	if len(node.Content) == 0 && node.Value == "" {
		return "", nil
	}
	if node.Kind == yaml.ScalarNode {
		return "`" + node.Value + "`", nil
	}
	node.Style = yaml.FlowStyle
	content, err := yaml.Marshal(&node)
	if err != nil {
		return "", err
	}
	return "`" + strings.TrimSpace(string(content)) + "`", nil
}
