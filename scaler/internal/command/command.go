// Package command is what this module's programs have in common: how their flags
// are read, and how they say that something is wrong.
package command

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// Exit codes, besides 0.
const (
	Failure = 1 // could not do it
	Usage   = 2 // wrong flags, or something wrong with what they name
)

type misuse struct{ error }

// AsMisuse makes err one of whoever called: it ends the program with [Usage].
func AsMisuse(err error) error { return misuse{err} }

// Run reads args into commands, a pointer to a struct with kong's tags, and calls
// do with what kong has read. It returns the exit code. Each line of an error stands
// on stderr behind the program's name.
func Run(name string, commands any, args []string, stdout, stderr io.Writer, do func(*kong.Context) error, options ...kong.Option) int {
	fail := func(code int, err error) int {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(stderr, "%s: %s\n", name, strings.TrimSuffix(line, "\n"))
		}
		return code
	}
	ended := -1
	options = append([]kong.Option{
		kong.Name(name), kong.Writers(stdout, stderr), kong.Exit(func(code int) { ended = code }), kong.Help(help(&ended)),
	}, options...)
	parser, err := kong.New(commands, options...)
	if err != nil {
		return fail(Failure, err)
	}
	parsed, err := parser.Parse(args)
	switch {
	case ended >= 0:
		return ended
	case err != nil:
		return fail(Usage, err)
	}
	err = do(parsed)
	switch {
	case errors.As(err, new(misuse)):
		return fail(Usage, err)
	case err != nil:
		return fail(Failure, err)
	}
	return 0
}

// help prints the usage and notes that nothing else is to be done.
func help(ended *int) kong.HelpPrinter {
	return func(options kong.HelpOptions, ctx *kong.Context) error {
		*ended = 0
		return kong.DefaultHelpPrinter(options, ctx)
	}
}
