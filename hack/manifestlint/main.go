// Command manifestlint has two linters look at rendered Kubernetes manifests:
// kubeconform, with schemas made from the API server's own OpenAPI document,
// and kube-score. What they find and no exception explains is printed, one line
// each.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	findings, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "manifestlint:", err)
		os.Exit(2)
	}
	for _, f := range findings {
		fmt.Println(f)
	}
	if len(findings) > 0 {
		os.Exit(1)
	}
}

// folders is a flag that may be given several times.
type folders []string

func (f *folders) String() string          { return strings.Join(*f, " ") }
func (f *folders) Set(folder string) error { *f = append(*f, folder); return nil }

func run(args []string) ([]string, error) {
	flags := flag.NewFlagSet("manifestlint", flag.ExitOnError)
	var crds folders
	openAPI := flags.String("openapi", "", "the API server's OpenAPI document, version 2 (api/openapi-spec/swagger.json of Kubernetes)")
	flags.Var(&crds, "crds", "folder with CustomResourceDefinitions; several times for several")
	version := flags.String("kubernetes", "", "the cluster's version, such as v1.35")
	file := flags.String("exceptions", "", "file of what is let pass; empty: nothing")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: manifestlint --openapi FILE --kubernetes VERSION [--crds DIR]... [--exceptions FILE] MANIFESTS.yaml...")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() == 0 || *openAPI == "" || *version == "" {
		flags.Usage()
		os.Exit(2)
	}
	exceptions, err := readExceptions(*file)
	if err != nil {
		return nil, err
	}
	schemas, err := readSchemas(*openAPI, crds)
	if err != nil {
		return nil, err
	}
	var findings []finding
	for _, path := range flags.Args() {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		stack := strings.TrimSuffix(filepath.Base(path), ".yaml")
		conform, err := conformance(stack, content, schemas)
		if err != nil {
			return nil, fmt.Errorf("%s: kubeconform: %w", path, err)
		}
		score, err := scores(stack, content, *version)
		if err != nil && len(conform) == 0 { // else it can't read what has just been found
			return nil, fmt.Errorf("%s: kube-score: %w", path, err)
		}
		findings = append(append(findings, conform...), score...)
	}
	return exceptions.apply(findings), nil
}

// finding is what a linter has against an object.
type finding struct {
	stack, check, object, message string // the object as Kind/name
}

func (f finding) String() string {
	return fmt.Sprintf("%s: %s: %s: %s", f.stack, f.object, f.message, f.check)
}
