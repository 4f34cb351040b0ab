package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/alecthomas/kong"

	"headroom.dev/apps/internal/apikeys"
	"headroom.dev/apps/internal/command"
)

const apiKeyCommand = "api-key"

type apiKeyOptions struct {
	Name  string  `arg:"" help:"Who the key is for: 1 to 63 of a-z, 0-9 and -."`
	Rate  float64 `help:"Requests a second that each dispatcher takes from it, above 0. Default: as many as come."`
	Burst int     `help:"Requests that may come at once. Default: those of one second."`
}

// runAPIKey makes a key: it is printed once, and kept as a hash.
func runAPIKey(args []string, stdout, stderr io.Writer) int {
	var o apiKeyOptions
	return command.Run("dispatcher "+apiKeyCommand, "Makes an API key and the entry for the file of --api-keys, which has the form "+
		`{"keys":[ENTRY,ENTRY]}.`, &o, args, stdout, stderr, func(*kong.Context) error {
		key, hash := apikeys.Generate()
		entry := apikeys.Entry{Name: o.Name, SHA256: hash, Rate: o.Rate, Burst: o.Burst}
		if err := entry.Check(); err != nil {
			return command.AsUsage(err)
		}
		text, err := json.Marshal(entry)
		if err != nil {
			return fmt.Errorf("encode the entry: %w", err)
		}
		_, err = fmt.Fprintf(stdout, "key:   %s\nentry: %s\n", key, text)
		return err
	})
}
