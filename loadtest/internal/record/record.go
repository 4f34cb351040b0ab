// Package record keeps what became of every request: the raw records in a
// compressed file, the counts and the percentiles in memory.
package record

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Outcome is what became of a request.
type Outcome string

const (
	// Answered is a 200 with a prediction.
	Answered Outcome = "answered"
	// Refused is 429, 503 or 504: the service said that it won't.
	Refused Outcome = "refused"
	// Failed is every other answer, a broken connection, or none in time.
	Failed Outcome = "failed"
	// Unsent is a request whose time came while the load tester was out of connections.
	Unsent Outcome = "unsent"
)

// Record is one request whose time came.
type Record struct {
	// Intended is when it was meant to be sent, from the start of the run.
	Intended time.Duration
	// Lag is how much later than intended it was sent; 0 when unsent.
	Lag time.Duration
	// Latency is from the intended time to having read the whole answer, or to giving up.
	Latency time.Duration
	// Status is the HTTP status; 0 is no answer.
	Status int
	// Outcome is what became of it.
	Outcome Outcome
	// Code says why it was not answered: the code in the error's body, or one
	// of the load tester's own such as "timeout"; empty when answered.
	Code string
	// Bytes is the size of the answer's body.
	Bytes int64
}

// End is when the request was over, from the start of the run.
func (r Record) End() time.Duration { return r.Intended + r.Latency }

// Distribution is a set of durations of which percentiles can be asked.
type Distribution struct {
	histogram *hdrhistogram.Histogram
	max, sum  time.Duration
}

const (
	longestTracked    = time.Hour
	significantDigits = 3
)

// NewDistribution returns an empty distribution. Percentiles are exact to
// 0.1%; durations above an hour count as an hour, there and only there.
func NewDistribution() *Distribution {
	return &Distribution{histogram: hdrhistogram.New(1, longestTracked.Microseconds(), significantDigits)}
}

// Add counts one duration. A negative one counts as 0.
func (d *Distribution) Add(value time.Duration) {
	value = max(value, 0)
	d.max = max(d.max, value)
	d.sum += value
	// The value is inside the histogram's range, so there is no error to handle.
	_ = d.histogram.RecordValue(min(value, longestTracked).Microseconds())
}

// Count is how many durations were added.
func (d *Distribution) Count() int64 { return d.histogram.TotalCount() }

// Quantile returns the lowest of the durations that at least a share q (0 to 1)
// of all is at or below (nearest rank), in seconds; NaN when the distribution
// is empty.
func (d *Distribution) Quantile(q float64) float64 {
	if d.Count() == 0 {
		return math.NaN()
	}
	// The histogram rounds the rank, which for few values gives a p99 that more
	// than 1% are above; an exact rank leaves it nothing to round.
	count := float64(d.Count())
	rank := math.Ceil(q*count - 1e-9)
	micros := d.histogram.ValueAtPercentile(rank / count * 100)
	return min(float64(micros)/1e6, d.max.Seconds())
}

// Mean is in seconds, NaN when the distribution is empty.
func (d *Distribution) Mean() float64 {
	if d.Count() == 0 {
		return math.NaN()
	}
	return d.sum.Seconds() / float64(d.Count())
}

// Max is in seconds, NaN when the distribution is empty.
func (d *Distribution) Max() float64 {
	if d.Count() == 0 {
		return math.NaN()
	}
	return d.max.Seconds()
}

// Tally is what is known about all requests so far.
type Tally struct {
	// Outcomes counts requests by what became of them.
	Outcomes map[Outcome]int
	// Statuses counts answers by HTTP status; 0 is no answer. Unsent requests are not in it.
	Statuses map[int]int
	// Codes counts requests that were not answered by the reason.
	Codes map[string]int
	// Late counts answered requests whose latency was above the SLO.
	Late int
	// Latency holds the latency of answered requests.
	Latency *Distribution
	// Lag holds the load tester's own lateness, of all sent requests.
	Lag *Distribution
	// First is the earliest intended time, Last the end of the request that ended last.
	First, Last time.Duration

	slo time.Duration
}

// NewTally returns a tally that counts answers slower than slo as late.
func NewTally(slo time.Duration) *Tally {
	return &Tally{
		Outcomes: map[Outcome]int{}, Statuses: map[int]int{}, Codes: map[string]int{},
		Latency: NewDistribution(), Lag: NewDistribution(), slo: slo,
	}
}

// Add counts one request.
func (t *Tally) Add(r Record) {
	if t.Due() == 0 {
		t.First = r.Intended
	}
	t.First = min(t.First, r.Intended)
	t.Last = max(t.Last, r.End())
	t.Outcomes[r.Outcome]++
	if r.Code != "" {
		t.Codes[r.Code]++
	}
	if r.Outcome == Unsent {
		return
	}
	t.Statuses[r.Status]++
	t.Lag.Add(r.Lag)
	if r.Outcome == Answered {
		t.Latency.Add(r.Latency)
		if r.Latency > t.slo {
			t.Late++
		}
	}
}

// Sent is how many requests went out.
func (t *Tally) Sent() int {
	return t.Outcomes[Answered] + t.Outcomes[Refused] + t.Outcomes[Failed]
}

// Due is how many requests' time came: sent, or unsent for want of a connection.
func (t *Tally) Due() int { return t.Sent() + t.Outcomes[Unsent] }

// Violations counts the due requests that got no prediction inside the SLO.
func (t *Tally) Violations() int { return t.Due() - t.Outcomes[Answered] + t.Late }

var header = []string{"intended_s", "lag_s", "latency_s", "status", "outcome", "code", "bytes"}

// Writer tallies records and writes them to a compressed CSV file, in the
// order in which the requests ended. It may be used by many goroutines.
type Writer struct {
	mu    sync.Mutex
	tally *Tally
	file  *os.File
	gzip  *gzip.Writer
	csv   *csv.Writer
	path  string
	err   error
}

// Create starts the file at path. Until Close it has the suffix ".partial".
func Create(path string, slo time.Duration) (*Writer, error) {
	file, err := os.OpenFile(path+".partial", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	// The level is the fastest: compressing must not take the CPU from sending on time.
	compressor, err := gzip.NewWriterLevel(file, gzip.BestSpeed)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("records: %w", err), file.Close())
	}
	w := &Writer{tally: NewTally(slo), file: file, gzip: compressor, csv: csv.NewWriter(compressor), path: path}
	w.err = w.csv.Write(header)
	return w, nil
}

// Add keeps one record, its times rounded to the microsecond that the file
// holds. The first error in writing is kept for Close; tallying goes on.
func (w *Writer) Add(r Record) {
	r.Intended = r.Intended.Round(time.Microsecond)
	r.Lag = r.Lag.Round(time.Microsecond)
	r.Latency = r.Latency.Round(time.Microsecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally.Add(r)
	if w.err == nil {
		w.err = w.csv.Write([]string{
			seconds(r.Intended), seconds(r.Lag), seconds(r.Latency),
			strconv.Itoa(r.Status), string(r.Outcome), r.Code, strconv.FormatInt(r.Bytes, 10),
		})
	}
}

// Read calls look with the tally while nothing is added to it.
func (w *Writer) Read(look func(*Tally)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	look(w.tally)
}

// Close ends the file and gives it its name. It returns the first error of all
// writing; the tally is complete all the same.
func (w *Writer) Close() (*Tally, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.csv.Flush()
	err := errors.Join(w.err, w.csv.Error(), w.gzip.Close(), w.file.Close())
	if err == nil {
		err = os.Rename(w.path+".partial", w.path)
	}
	if err != nil {
		return w.tally, fmt.Errorf("records in %s: %w", w.path, err)
	}
	return w.tally, nil
}

// seconds prints with the microsecond as the last digit.
func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', 6, 64)
}

// Load reads a file that a Writer made and calls each for every record, in the
// file's order. Errors name the file and the line.
func Load(path string, each func(Record)) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	defer func() { _ = file.Close() }()
	compressed, err := gzip.NewReader(bufio.NewReader(file))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	reader := csv.NewReader(compressed)
	reader.FieldsPerRecord = len(header)
	reader.ReuseRecord = true
	for line := 1; ; line++ {
		row, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if line == 1 {
			continue
		}
		r, err := parse(row)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, line, err)
		}
		each(r)
	}
}

func parse(row []string) (Record, error) {
	var times [3]time.Duration
	for i := range times {
		value, err := strconv.ParseFloat(row[i], 64)
		if err != nil || !(value >= 0 && value < math.MaxInt32) {
			return Record{}, fmt.Errorf("%s %q: allowed are seconds from 0", header[i], row[i])
		}
		times[i] = time.Duration(math.Round(value*1e6)) * time.Microsecond
	}
	status, err := strconv.Atoi(row[3])
	if err != nil {
		return Record{}, fmt.Errorf("status %q: allowed are whole numbers", row[3])
	}
	outcome := Outcome(row[4])
	switch outcome {
	case Answered, Refused, Failed, Unsent:
	default:
		return Record{}, fmt.Errorf("outcome %q: allowed are %s, %s, %s and %s", row[4], Answered, Refused, Failed, Unsent)
	}
	bytes, err := strconv.ParseInt(row[6], 10, 64)
	if err != nil {
		return Record{}, fmt.Errorf("bytes %q: allowed are whole numbers", row[6])
	}
	return Record{
		Intended: times[0], Lag: times[1], Latency: times[2],
		Status: status, Outcome: outcome, Code: row[5], Bytes: bytes,
	}, nil
}
