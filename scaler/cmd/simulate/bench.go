package main

import (
	"fmt"

	"headroom.dev/scaler/internal/command"
	"headroom.dev/scaler/internal/compare/bench"
)

type benchCommand struct {
	Rounds int    `default:"5" help:"Rounds, of which medians are taken, 1 to 100. Default: ${default}."`
	Out    string `required:"" placeholder:"FILE" help:"JSON file to put the figures into."`
}

// Run measures, prints what it found and puts it into the file.
func (c *benchCommand) Run(s streams) error {
	if c.Rounds < 1 || c.Rounds > 100 {
		return command.AsMisuse(fmt.Errorf("--rounds %d: allowed are numbers from 1 to 100", c.Rounds))
	}
	figures, err := bench.Run(c.Rounds)
	if err != nil {
		return err
	}
	bench.Print(s.out, figures)
	return bench.Save(c.Out, figures)
}
