// Package command is what the programs have in common: how their flags are
// read, how they say that something is wrong, and their version.
package command

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	OK    = 0
	Error = 1
	Usage = 2
)

// usageError is an error of whoever called the program.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// AsUsage makes err end the program with Usage; nil stays nil.
func AsUsage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// Run reads args into options, a pointer to a struct with kong's tags, and then
// calls do with what kong has read. It returns the exit code; an error is one
// line on stderr, behind the program's name.
func Run(name, description string, options any, args []string, stdout, stderr io.Writer, do func(*kong.Context) error) int {
	fail := func(code int, err error) int {
		_, _ = fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return code
	}
	helped := false
	parser, err := kong.New(options, kong.Name(name), kong.Description(description),
		kong.Writers(stdout, stderr), kong.Exit(func(int) { helped = true }))
	if err != nil {
		return fail(Error, err)
	}
	parsed, err := parser.Parse(args)
	if helped {
		return OK
	}
	if err != nil {
		return fail(Usage, err)
	}
	if err := do(parsed); err != nil {
		if errors.As(err, &usageError{}) {
			return fail(Usage, err)
		}
		return fail(Error, err)
	}
	return OK
}

// Version is the one that Go stamped on this program; empty where it did not.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}

// Revision is the commit that this program was built from; empty where Go does
// not know it.
func Revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	return ""
}
