// Configdoc writes docs/configuration.md out of the schema in Pulumi.yaml.
//
// Usage: configdoc PULUMI.yaml CONFIGURATION.md
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "configdoc:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%d arguments; usage: configdoc PULUMI.yaml CONFIGURATION.md", len(args))
	}
	schema, err := os.ReadFile(args[0])
	if err != nil {
		return fmt.Errorf("reading the schema: %w", err)
	}
	page, err := render(schema)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	if err := os.WriteFile(args[1], []byte(page), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}
