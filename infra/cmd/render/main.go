// Command render prints the Kubernetes manifests of a stack, without a cluster
// and without Pulumi's engine.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"headroom.dev/infra/internal/render"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("render", flag.ExitOnError)
	out := flags.String("out", "", "folder for one file an object; empty: all on standard output")
	standIns := flags.Bool("stand-in-images", false, "don't read the images file; name its images headroom/…:stand-in")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), `usage: render [flags] STACKFILE

Prints the Kubernetes manifests of a stack, such as Pulumi.dev.yaml, in an order
in which a cluster can take them. Secret values are replaced by "[secret]".`)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		flags.Usage()
		os.Exit(2)
	}
	path := flags.Arg(0)
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the stack's file: %w", err)
	}
	manifests, err := render.Stack(content, os.DirFS(filepath.Dir(path)), *standIns)
	if err != nil {
		return err
	}
	if *out == "" {
		joined, err := render.Join(manifests)
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(joined)
		return err
	}
	return write(*out, manifests)
}

// write makes one file an object. The folder must be empty or not there yet, as
// a file that an earlier run left would be taken for one of this stack's.
func write(folder string, manifests []render.Manifest) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: name a new folder", folder)
	}
	for _, m := range manifests {
		content, err := m.YAML()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, m.FileName()), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
