package loadbench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"headroom.dev/loadtest/internal/fire"
	"headroom.dev/loadtest/internal/pace"
	"headroom.dev/loadtest/internal/record"
)

// Load is a constant rate of one picture.
type Load struct {
	Target  string
	Picture string
	// Rate is in requests per second.
	Rate    float64
	Stretch time.Duration
}

// Outcome is what became of a load. Lags are seconds.
type Outcome struct {
	Requests int     `json:"requests"`
	Sent     int     `json:"sent"`
	Answered int     `json:"answered"`
	LagP50   float64 `json:"lag_p50_s"`
	LagP99   float64 `json:"lag_p99_s"`
	LagMax   float64 `json:"lag_max_s"`
}

// Fire sends the load as `loadtest run` does, each request's record included.
func Fire(ctx context.Context, load Load) (o Outcome, err error) {
	target, err := fire.ParseTarget(load.Target)
	if err != nil {
		return o, err
	}
	images, err := fire.LoadImages(load.Picture)
	if err != nil {
		return o, err
	}
	rates := slices.Repeat([]float64{load.Rate}, int(load.Stretch/time.Second))
	schedule, err := pace.Schedule(rates, pace.Options{Scale: 1, Speed: 1, Arrivals: pace.Even})
	if err != nil {
		return o, err
	}
	folder, err := os.MkdirTemp("", "headroom-bench-")
	if err != nil {
		return o, fmt.Errorf("making a folder for the records: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	writer, err := record.Create(filepath.Join(folder, "requests.csv.gz"), time.Second)
	if err != nil {
		return o, err
	}
	interrupted := fire.Run(ctx, fire.Config{
		Target: target, Images: images, Timeout: 10 * time.Second, MaxInFlight: 2000, RunID: "bench",
	}, time.Now(), schedule, writer.Add)
	tally, err := writer.Close()
	if err != nil {
		return o, err
	}
	if interrupted {
		return o, ctx.Err()
	}
	return Outcome{
		Requests: len(schedule), Sent: tally.Sent(), Answered: tally.Outcomes[record.Answered],
		LagP50: tally.Lag.Quantile(0.5), LagP99: tally.Lag.Quantile(0.99), LagMax: tally.Lag.Max(),
	}, nil
}
