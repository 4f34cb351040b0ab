// The Pulumi program that provisions headroom.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/constant"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/config"
	"headroom.dev/infra/internal/stack"
)

func main() { os.Exit(run()) }

// run returns the exit code by which the engine knows that what was wrong has
// been reported.
func run() int {
	reported := false
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		err := program(ctx)
		if err != nil {
			reported = report(ctx, err) == nil
		}
		return err
	})
	if err == nil {
		return 0
	}
	if !reported {
		fmt.Fprintln(os.Stderr, err)
	}
	return constant.ExitStatusLoggedError
}

// program loads and checks the configuration, and runs the stack's program. Nothing is made of a configuration with a mistake in it.
func program(ctx *pulumi.Context) error {
	source, err := config.FromContext(ctx)
	if err != nil {
		return err
	}
	cfg, err := config.Load(source, os.DirFS(ctx.RootDirectory()))
	if err != nil {
		return err
	}
	return stack.Program(cfg)(ctx)
}

// report shows each mistake in the configuration, or any other failure, as an
// error of its own.
func report(ctx *pulumi.Context, err error) error {
	lines := []string{err.Error()}
	var problems config.Problems
	if errors.As(err, &problems) {
		lines = strings.Split(problems.Error(), "\n")
	}
	for _, line := range lines {
		if err := ctx.Log.Error(line, nil); err != nil {
			return fmt.Errorf("reporting to the engine: %w", err)
		}
	}
	return nil
}
