// Command vegetabench sends a constant rate with vegeta, for the load tester to
// be measured beside.
//
// It is a module of its own so that no program of headroom depends on vegeta.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/alecthomas/kong"
	vegeta "github.com/tsenart/vegeta/v12/lib"
)

type options struct {
	Target  string        `required:"" placeholder:"URL" help:"Where to send to: pictures are posted to /query below it."`
	Picture string        `required:"" type:"existingfile" placeholder:"FILE" help:"What to send."`
	Rate    int           `required:"" help:"Requests a second."`
	Stretch time.Duration `default:"5s" help:"How long. Default: ${default}."`
}

// outcome is what is printed.
type outcome struct {
	Requests int `json:"requests"`
	Answered int `json:"answered"`
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "vegetabench: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	var o options
	parser, err := kong.New(&o, kong.Name("vegetabench"), kong.Description("Sends a constant rate with vegeta."))
	if err != nil {
		return err
	}
	if _, err := parser.Parse(args); err != nil {
		return err
	}
	picture, err := os.ReadFile(o.Picture)
	if err != nil {
		return err
	}
	targeter := vegeta.NewStaticTargeter(vegeta.Target{
		Method: http.MethodPost, URL: o.Target + "/query", Body: picture,
		Header: http.Header{"Content-Type": {"image/jpeg"}},
	})
	attacker := vegeta.NewAttacker(vegeta.Timeout(10*time.Second), vegeta.MaxWorkers(2000), vegeta.HTTP2(false))
	var found outcome
	for result := range attacker.Attack(targeter, vegeta.Rate{Freq: o.Rate, Per: time.Second}, o.Stretch, "bench") {
		found.Requests++
		if result.Code == http.StatusOK && result.Error == "" {
			found.Answered++
		}
	}
	return json.NewEncoder(stdout).Encode(found)
}
