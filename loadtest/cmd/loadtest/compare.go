package main

import (
	"fmt"
	"io"
	"path/filepath"

	"headroom.dev/loadtest/internal/compare"
)

type compareCommand struct {
	Dirs []string `arg:"" name:"dir" help:"Folders with results of the same trace, scale, speed, SLO and seeds; those with the same --scaler are repetitions of each other."`
	Out  string   `required:"" placeholder:"DIR" help:"Folder for the comparison. It may hold the runs' folders; an older comparison in it is replaced."`
}

// compareRuns is the compare command. Everything is read and found good before a file is written.
func compareRuns(c *compareCommand, stdout, stderr io.Writer) error {
	if err := compare.CheckOut(c.Out); err != nil {
		return usageError{err}
	}
	runs, err := compare.Load(c.Dirs, stderr)
	if err != nil {
		return usageError{err}
	}
	comparison, err := compare.New(runs)
	if err != nil {
		return usageError{err}
	}
	if err := comparison.Write(c.Out, stderr); err != nil {
		return err
	}
	if err := comparison.Table(stdout); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "\ncomparison: %s\n", filepath.Join(c.Out, compare.PageFile))
	return err
}
