package report

import (
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
)

//go:embed page.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// picture is a plot inside the page.
type picture struct {
	Title, Caption string
	Source         template.URL
}

// count is how often something happened.
type count struct {
	Name  string
	Count int
}

type page struct {
	Summary  Summary
	Started  string
	Verdict  string
	Kept     bool
	Figures  []figure
	Pictures []picture
	Statuses []count
	Codes    []count
}

// writePage writes one file that opens without a network: everything is in it.
func writePage(w io.Writer, s Summary, codes map[string]int, pictures []picture) error {
	p := page{
		Summary: s, Started: s.Run.StartedAt.UTC().Format("2 January 2006, 15:04:05 UTC"),
		Figures: figures(s), Pictures: pictures, Statuses: sorted(s.ByStatus), Codes: sorted(codes),
	}
	p.Kept = s.Requests.Sent > 0 && s.Violations.Share <= 1-s.SLO.Quantile
	p.Verdict = verdict(s, p.Kept)
	return pageTemplate.Execute(w, p)
}

// verdict says in a sentence what the clients saw of the SLO.
func verdict(s Summary, kept bool) string {
	if s.Requests.Sent == 0 {
		return "Nothing was sent."
	}
	word := "missed"
	if kept {
		word = "met"
	}
	return fmt.Sprintf("SLO %s, as the clients saw it: %.2f%% of the requests got no prediction within %s of when they were meant to be sent; %.0f%% may.",
		word, s.Violations.Share*100, milliseconds(&s.SLO.LatencyS), (1-s.SLO.Quantile)*100)
}

func sorted(counts map[string]int) []count {
	var all []count
	for name, n := range counts {
		all = append(all, count{name, n})
	}
	slices.SortFunc(all, func(a, b count) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}

func embedPNG(title, caption string, png []byte) picture {
	// The bytes are a picture that this program has drawn.
	return picture{Title: title, Caption: caption, Source: template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(png))}
}
