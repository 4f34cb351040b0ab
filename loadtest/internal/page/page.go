// Package page writes results as one HTML file that people open in a browser:
// words, figures, tables and interactive charts on one time axis. The file asks
// nobody for anything: its style, its script and its data are in it, and its
// content security policy lets a browser run these and nothing else.
package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
)

// The charts are drawn by uPlot 1.6.32 (MIT). To take in another version VERSION:
//
//	npm pack uplot@VERSION && tar -xzf uplot-VERSION.tgz
//	cp package/LICENSE package/dist/uPlot.iife.min.js package/dist/uPlot.min.css uplot/
var (
	//go:embed uplot/uPlot.iife.min.js
	uplotScript string
	//go:embed uplot/uPlot.min.css
	uplotStyle string
	//go:embed uplot/LICENSE
	uplotLicense string

	//go:embed page.html.tmpl
	layout string
	//go:embed page.css
	style string
	//go:embed page.js
	script string
)

// wholeStyle and wholeScript are what a page carries; allowed is the policy
// under which a browser takes exactly these.
var (
	wholeStyle  = uplotStyle + "\n" + style
	wholeScript = "/*\n" + strings.TrimSpace(uplotLicense) + "\n*/\n" + uplotScript + "\n" + script
	allowed     = "default-src 'none'; style-src " + hash(wholeStyle) + "; script-src " + hash(wholeScript) +
		"; img-src data:; base-uri 'none'; form-action 'none'"
	pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"scatter": newDrawing}).Parse(layout))
)

func hash(part string) string {
	sum := sha256.Sum256([]byte(part))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Tone says whether something is as it should be. It is shown by a colour and
// by a sign, since not everybody sees the colour.
type Tone string

// The tones; the empty one says nothing.
const (
	Good   Tone = "good"
	Bad    Tone = "bad"
	Unsure Tone = "unsure"
)

// Sign is the tone for those who don't see its colour.
func (t Tone) Sign() string {
	switch t {
	case Good:
		return "✓"
	case Bad:
		return "✗"
	case Unsure:
		return "≈"
	}
	return ""
}

// Document is a page. Every string of it may come from outside; none of them
// is taken for markup.
type Document struct {
	// Title is the name of the browser's tab and the heading.
	Title string
	// Lead says in a line what the page is about.
	Lead string
	// Banner says why the figures must not be trusted; empty where they may.
	Banner []string
	// Verdict is the one sentence to remember.
	Verdict Remark
	// Tiles are the key figures.
	Tiles []Tile
	// Sections follow in their order.
	Sections []Section
}

// Remark is a sentence and what it means for the reader.
type Remark struct {
	Term, Text string
	Tone       Tone
}

// Tile is one key figure.
type Tile struct {
	// ID names the figure to programs, in the attribute data-figure.
	ID          string
	Name, Value string
	// Note is a few words below the value.
	Note string
	Tone Tone
}

// Section is a heading and what stands below it, in the order of the fields.
type Section struct {
	Title    string
	Intro    string
	Remarks  []Remark
	Facts    []Fact
	Tables   []Table
	Scatters []Scatter
	// Timeline holds charts on one time axis; at most one section of a page has it.
	Timeline *Timeline
	// Folded sections show their title until somebody opens them.
	Folded bool
}

// Fact is a name and what it stands for.
type Fact struct{ Name, Value string }

// Table has a header row; the first cell of each row is its name.
type Table struct {
	Caption string
	Head    []string
	Rows    []Row
}

// Row is one row of a table.
type Row []Cell

// Cell is one cell of a table. Number cells are aligned to the right.
type Cell struct {
	Text   string
	Tone   Tone
	Number bool
	// Colour is the colour of a small square before the text; 0 is none.
	Colour int
	// Link is the address of another file, relative to the page; empty is none.
	Link string
}

// Words is a cell of text.
func Words(text string) Cell { return Cell{Text: text} }

// Number is a cell that is aligned with the numbers above and below it.
func Number(text string) Cell { return Cell{Text: text, Number: true} }

// Colours is how many colours there are for lines and points, from 1.
const Colours = 7

// Write writes the page.
func Write(w io.Writer, d Document) error {
	var data *chartData
	for _, s := range d.Sections {
		if s.Timeline == nil {
			continue
		}
		if data != nil {
			return fmt.Errorf("page %q: two sections have a timeline; allowed is one", d.Title)
		}
		data = s.Timeline.data()
	}
	return pageTemplate.Execute(w, struct {
		Document
		Style   template.CSS
		Script  template.JS
		Allowed string
		Data    *chartData
	}{d, template.CSS(wholeStyle), template.JS(wholeScript), allowed, data})
}
