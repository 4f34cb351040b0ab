package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThePageIsThatOfTheSchema(t *testing.T) {
	schema, err := os.ReadFile("../../../Pulumi.yaml")
	require.NoError(t, err)
	page, err := render(schema)
	require.NoError(t, err)
	present, err := os.ReadFile("../../../docs/configuration.md")
	require.NoError(t, err)
	if page != string(present) {
		t.Fatal("docs/configuration.md is not what Pulumi.yaml says: run `make docs`")
	}
}

func TestRender(t *testing.T) {
	page, err := render([]byte(`
name: p
config:
  # Size
  p:replicas:
    type: integer
    description: how many | of them
    default: 2
  p:ports:
    type: array
    items:
      type: integer
    description: where
    default: [1, 2]
  # Way
  p:host:
    type: string
    description: the host
    default: ""
  p:labels:
    type: object
    description: labels
    default:
      a: b
`))
	require.NoError(t, err)
	require.Equal(t, head+strings.Join([]string{
		"", "## Size", "", "| key | type | default | |", "|---|---|---|---|",
		"| `replicas` | integer | `2` | how many \\| of them |", "| `ports` | array of integer | `[1, 2]` | where |",
		"", "## Way", "", "| key | type | default | |", "|---|---|---|---|",
		"| `host` | string |  | the host |", "| `labels` | object | `{a: b}` | labels |", "",
	}, "\n"), page)
}

func TestWhatCantBeRendered(t *testing.T) {
	for schema, message := range map[string]string{
		"config: {p:a: {type: string, description: x}}": "line 1: p:a has no group: a comment above it names one",
		"config:\n  # A\n  a:\n    description: x\n":    "line 3: the key a is not of a project",
		"config:\n  # A\n  p:a:\n    type: string\n":    "line 3: p:a has no description",
		"name: p\n": "there is no config",
		"config:\n  # A\n  p:a:\n    type: [string, integer]\n": "line 3: yaml: unmarshal errors:\n  line 4: cannot unmarshal !!seq into string",
	} {
		_, err := render([]byte(schema))
		require.EqualError(t, err, message)
	}
}

func TestRun(t *testing.T) {
	folder := t.TempDir()
	in, out := filepath.Join(folder, "in.yaml"), filepath.Join(folder, "out.md")
	require.NoError(t, os.WriteFile(in, []byte("config:\n  # A\n  p:a:\n    type: string\n    description: x\n"), 0o600))
	require.NoError(t, run([]string{in, out}))
	content, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Contains(t, string(content), "| `a` | string |  | x |")
	require.ErrorContains(t, run([]string{filepath.Join(folder, "none"), out}), "reading the schema")
	require.ErrorContains(t, run([]string{in, folder}), "writing the page")
	require.ErrorContains(t, run(nil), "usage")
}
