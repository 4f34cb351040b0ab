package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// lint gives the findings about a stack's manifests.
func lint(t *testing.T, manifests, exceptions string) []string {
	t.Helper()
	folder := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	findings, err := run([]string{
		"--openapi", "testdata/openapi.json", "--crds", "testdata/crds", "--kubernetes", "v1.35",
		"--exceptions", write("exceptions.txt", exceptions), write("prod.yaml", manifests),
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range findings {
		findings[i] = strings.ReplaceAll(findings[i], folder+"/", "")
	}
	return findings
}

func TestConformance(t *testing.T) {
	const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: shop}\n"
	for _, test := range []struct {
		name, manifest string
		finds          string // part of the only finding; empty: none
	}{
		{"what the API server takes", configMap + "data: {a: b}\n", ""},
		{"a field that there isn't", configMap + "date: {a: b}\n", "additional properties 'date' not allowed"},
		{"one that is deep inside", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, owner: {nome: x}}\n", "additional properties 'nome' not allowed"},
		{"a value of the wrong type", configMap + "data: {a: 1}\n", "at '/data/a': got number, want string"},
		{"a key that is there twice", configMap + "data: {a: b, a: c}\n", `key "a" already set in map`},
		{"a number where it may be a text", "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: b}\nspec: {maxUnavailable: 1}\n", ""},
		{"a text where it may be a number", "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: b}\nspec: {maxUnavailable: 25%}\n", ""},
		{"neither", "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: b}\nspec: {maxUnavailable: true}\n", "at '/spec/maxUnavailable'"},
		{"a custom resource", "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w, labels: {a: b}}\nspec: {size: 1, port: http, free: {any: 1}}\n", ""},
		{"a custom resource with a mistake", "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: large}\n", "at '/spec/size': got string, want integer"},
		{"one with a field that there isn't", "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {seize: 1}\n", "additional properties 'seize' not allowed"},
		{"a kind that nobody knows", "apiVersion: example.com/v2\nkind: Widget\nmetadata: {name: w}\n", "could not find schema for Widget"},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Budgets of pods that aren't there are none of kube-score's business here.
			findings := lint(t, configMap+"---\n"+test.manifest, "")
			findings = slices.DeleteFunc(findings, func(f string) bool { return !strings.Contains(f, "kubeconform") })
			switch {
			case test.finds == "" && len(findings) > 0, test.finds != "" && len(findings) != 1:
				t.Fatalf("found %q", findings)
			case test.finds != "" && !strings.Contains(findings[0], test.finds):
				t.Fatalf("found %q, not %q", findings[0], test.finds)
			}
		})
	}
}

const service = "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: shop}\nspec: {type: NodePort, selector: {a: b}}\n"

func TestScores(t *testing.T) {
	findings := lint(t, service, "prod kubeconform Service/s It has no schema here.\n")
	want := []string{
		"prod: Service/s: The service is of type NodePort: service-type",
		"prod: Service/s: The services selector does not match any pods: service-targets-pod",
	}
	if !slices.Equal(findings, want) {
		t.Fatalf("found %q", findings)
	}
}

func TestExceptions(t *testing.T) {
	for _, test := range []struct {
		name, exceptions string
		want             []string
	}{
		{"wildcards", "# all of it\n*  *  Service/*  A reason.\n", nil},
		{"one that covers nothing", "* * Service/* A reason.\n\ndev service-type * Another reason.\n", []string{"exceptions.txt:3: lets nothing pass: remove the line"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := lint(t, service, test.exceptions); !slices.Equal(got, test.want) {
				t.Fatalf("got %q", got)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "exceptions.txt")
	if err := os.WriteFile(path, []byte("* service-type Service/s because\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readExceptions(path); err == nil || !strings.Contains(err.Error(), ":1: must be stack, check, object and a reason") {
		t.Fatalf("a reason of one word: %v", err)
	}
}
