// Package classifier loads a model folder and takes requests through it: it is
// the model and the engine put together.
package classifier

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"headroom.dev/apps/internal/imaging"
	"headroom.dev/apps/internal/inference"
	"headroom.dev/apps/internal/model"
	"headroom.dev/apps/internal/reply"
)

// Stage is a part of a request's way.
type Stage string

// The stages, in their order.
const (
	// Queue is waiting for a turn, in all.
	Queue Stage = "queue"
	// Decode is from the picture's bytes to its pixels.
	Decode Stage = "decode"
	// Preprocess is from the pixels to the network's input.
	Preprocess Stage = "preprocess"
	// Run is the network.
	Run Stage = "run"
	// Encode is from the network's output to the predictions.
	Encode Stage = "encode"
)

// Stages are all stages, in their order.
var Stages = []Stage{Queue, Decode, Preprocess, Run, Encode}

// Observer is told what happens. It is called by many goroutines.
type Observer interface {
	// Observe is told how long a request was in a stage.
	Observe(Stage, time.Duration)
	// Batch is told of a run of the network on a number of pictures.
	Batch(pictures int)
}

// warmUps is how often each runner runs before the server says that it is
// ready. After the second run, the times of a small network no longer fall.
const warmUps = 3

// Config is what a Classifier needs to know.
type Config struct {
	// Slots is how many runs there are at a time, and how many pictures are
	// decoded at a time, at least 1.
	Slots int
	// Waiting is how many requests may wait for a slot, at least 0.
	Waiting int
	// MaxBatch is the most pictures of one run, up to model.MaxBatch; 1 for no
	// batches, 0 for what calibration finds. A network with a batch of its own
	// takes that.
	MaxBatch int
	// Calibration is how long the search for the best batch may take, but for
	// the run that is then under way; 0 for none.
	Calibration time.Duration
	// Limits are a picture's.
	Limits   imaging.Limits
	Observer Observer
}

// Report is how loading went.
type Report struct {
	// Load is the time to load the network, WarmUp that of the first runs and
	// of calibration.
	Load, WarmUp time.Duration
	// Batch is the most pictures of one run.
	Batch int
	// Costs are what calibration measured; nil where there was none.
	Costs []inference.BatchCost
}

// Classifier answers requests with a model. It is for concurrent use.
type Classifier struct {
	*model.Model
	config   Config
	engine   *inference.Engine[*model.Preparer, *model.Lane]
	pictures sync.Pool
	report   Report
	parts    parts
}

type parts struct {
	preparers []*model.Preparer
	lanes     []*model.Lane
	runners   []*model.Runner
}

// Load loads the model that spec describes from folder, warms it up and
// measures which batch is best. onnx.Start must have been called. It fails
// where the network does not fit spec or does not work.
func Load(ctx context.Context, folder string, spec model.Spec, labels []string, config Config) (*Classifier, error) {
	begin := time.Now()
	m, err := model.Load(folder, spec, labels)
	if err != nil {
		return nil, err
	}
	c := &Classifier{Model: m, config: config}
	c.pictures.New = func() any { return new(picture) }
	c.report.Load = time.Since(begin)
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.report.WarmUp = time.Since(begin) - c.report.Load
	return c, nil
}

func (c *Classifier) start(ctx context.Context) error {
	preparer, err := c.NewPreparer(c.config.Limits)
	if err != nil {
		return err
	}
	c.parts.preparers = append(c.parts.preparers, preparer)
	if err := c.addLanes(1); err != nil {
		return err
	}
	fastest, err := c.addRunner(ctx, max(c.config.MaxBatch, 1))
	if err != nil {
		return err
	}
	if c.config.MaxBatch == 0 && c.Batch() == 0 {
		if c.report.Costs, err = c.costs(ctx, fastest); err != nil {
			return err
		}
		if batch := inference.BestBatch(c.report.Costs); batch > 1 {
			c.parts.runners[0].Close()
			c.parts.runners = nil
			if _, err := c.addRunner(ctx, batch); err != nil {
				return err
			}
		}
	}
	c.report.Batch = c.parts.runners[0].Batch()
	for range c.config.Slots - 1 {
		took, err := c.addRunner(ctx, c.report.Batch)
		if err != nil {
			return err
		}
		fastest = min(fastest, took)
	}
	for range c.config.Slots - 1 {
		preparer, err := c.NewPreparer(c.config.Limits)
		if err != nil {
			return err
		}
		c.parts.preparers = append(c.parts.preparers, preparer)
	}
	if err := c.addLanes(c.config.Slots * (1 + c.report.Batch)); err != nil {
		return err
	}

	runners := make([]inference.Runner[*model.Lane], len(c.parts.runners))
	for i, runner := range c.parts.runners {
		runners[i] = runner
	}
	c.engine = inference.New(inference.Parts[*model.Preparer, *model.Lane]{
		Preparers: c.parts.preparers, Lanes: c.parts.lanes, Runners: runners,
		Waiting: c.config.Waiting, Fastest: fastest, Observer: observer{c.config.Observer},
	})
	return nil
}

// addLanes makes lanes until there are n.
func (c *Classifier) addLanes(n int) error {
	for len(c.parts.lanes) < n {
		lane, err := c.NewLane()
		if err != nil {
			return err
		}
		c.parts.lanes = append(c.parts.lanes, lane)
	}
	return nil
}

// addRunner makes a warm runner of up to batch pictures a run, and returns the
// time of its fastest run on one.
func (c *Classifier) addRunner(ctx context.Context, batch int) (fastest time.Duration, err error) {
	runner, err := c.NewRunner(batch)
	if err != nil {
		return 0, err
	}
	c.parts.runners = append(c.parts.runners, runner)
	return runner.WarmUp(ctx, c.parts.preparers[0], c.parts.lanes[0], warmUps)
}

// triedBatches are the sizes that calibration tries, each triedRounds times.
var triedBatches = []int{1, 2, 4, 8}

const triedRounds = 3

// costs measures the CPU time of runs on several pictures, the sizes in turn, and
// gives the fastest of each. What would not fit into the time for calibration,
// going by that of a run on one picture, is not tried; where the time ends all
// the same, as a container's CPU limit makes it stand still, nothing is given.
func (c *Classifier) costs(ctx context.Context, single time.Duration) ([]inference.BatchCost, error) {
	end := time.Now().Add(c.config.Calibration)
	sizes := 1
	// The first round also takes the memory for a size and does not count.
	for pictures := triedBatches[0]; sizes < len(triedBatches); sizes++ {
		pictures += triedBatches[sizes]
		if time.Duration((triedRounds+1)*pictures)*single > c.config.Calibration {
			break
		}
	}
	if sizes == 1 {
		return nil, nil
	}
	largest := triedBatches[sizes-1]
	if err := c.addLanes(largest); err != nil {
		return nil, err
	}
	runner, err := c.NewRunner(largest)
	if err != nil {
		return nil, err
	}
	defer runner.Close()

	// The thread's own clock counts only while the goroutine stays on it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	costs := make([]inference.BatchCost, sizes)
	for round := range triedRounds + 1 {
		for i, size := range triedBatches[:sizes] {
			if time.Now().After(end) {
				return nil, nil
			}
			begin, err := threadTime()
			if err != nil {
				return nil, err
			}
			if err := runner.Run(ctx, c.parts.lanes[:size]); err != nil {
				return nil, fmt.Errorf("measuring batches of %d: %w", size, err)
			}
			after, err := threadTime()
			if err != nil {
				return nil, err
			}
			if cost := after - begin; round == 1 || round > 1 && cost < costs[i].Cost {
				costs[i] = inference.BatchCost{Size: size, Cost: cost}
			}
		}
	}
	return costs, nil
}

// Report says how loading went.
func (c *Classifier) Report() Report { return c.report }

// Check says what Classify would refuse at once; nil for nothing. deadline is
// zero where there is none.
func (c *Classifier) Check(priority inference.Priority, deadline time.Time) *inference.Refusal {
	return c.engine.Check(priority, deadline)
}

// Close frees everything. No request may be under way.
func (c *Classifier) Close() error {
	if c.engine != nil {
		c.engine.Close()
	}
	for _, p := range c.parts.preparers {
		p.Close()
	}
	for _, l := range c.parts.lanes {
		l.Close()
	}
	for _, r := range c.parts.runners {
		r.Close()
	}
	return c.Model.Close()
}

// Answer is what became of a picture.
type Answer struct {
	Predictions []reply.Prediction
	// Waited is how long the request waited for its turns, in all.
	Waited time.Duration
	// Ran is when the network had run.
	Ran time.Time
}

// Classify answers with the k most probable classes of a picture (all, where
// there are fewer), most probable first, appended to dst. An unusable picture
// is an *imaging.Error and a request that isn't served an *inference.Refusal;
// when ctx, whose deadline is the request's, ends first, the error is ctx's.
// Encode is for the caller to observe.
func (c *Classifier) Classify(ctx context.Context, priority inference.Priority, body []byte, k int, dst []reply.Prediction) (Answer, error) {
	p := c.pictures.Get().(*picture)
	defer func() {
		*p = picture{}
		c.pictures.Put(p)
	}()
	*p = picture{body: body, k: k, observer: c.config.Observer, answer: Answer{Predictions: dst}}
	err := c.engine.Do(ctx, priority, p)
	return p.answer, err
}

// picture is a request to classify one.
type picture struct {
	body     []byte
	k        int
	observer Observer
	answer   Answer
}

func (p *picture) Prepare(ctx context.Context, preparer *model.Preparer, lane *model.Lane) error {
	begin := time.Now()
	if err := preparer.Decode(ctx, p.body); err != nil {
		return err
	}
	decoded := time.Now()
	if err := preparer.Fill(ctx, lane); err != nil {
		return err
	}
	p.observer.Observe(Decode, decoded.Sub(begin))
	p.observer.Observe(Preprocess, time.Since(decoded))
	return nil
}

func (p *picture) Sample() bool { return true }

func (p *picture) Finish(lane *model.Lane, waited time.Duration) (err error) {
	p.answer.Waited, p.answer.Ran = waited, time.Now()
	p.observer.Observe(Queue, waited)
	p.answer.Predictions, err = lane.Predictions(p.answer.Predictions, p.k)
	return err
}

// Infer runs the network on inputs of rows pictures, laid out one after the
// other as the network's input is, and returns its outputs so. Each row is a
// request of its own to the engine, as many at a time as there are slots; the
// first that fails ends the others. Errors are those of Classify.
func (c *Classifier) Infer(ctx context.Context, priority inference.Priority, rows int, input []byte) ([]byte, error) {
	if rows < 1 || len(input)%rows != 0 {
		return nil, fmt.Errorf("%d bytes are no %d rows", len(input), rows)
	}
	size := len(input) / rows
	outputs := make([][]byte, rows)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var group sync.WaitGroup
	places := make(chan struct{}, c.config.Slots)
	for i := range rows {
		places <- struct{}{}
		group.Go(func() {
			defer func() {
				// No caller's recover sees this goroutine.
				if p := recover(); p != nil {
					stop(fmt.Errorf("inferring panicked: %v\n%s", p, debug.Stack()))
				}
				<-places
			}()
			t := tensor{input: input[i*size:][:size], observer: c.config.Observer}
			if err := c.engine.Do(ctx, priority, &t); err != nil {
				stop(err)
			}
			outputs[i] = t.output
		})
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	var output []byte
	for _, row := range outputs {
		output = append(output, row...)
	}
	return output, nil
}

// tensor is a request to run the network on one row.
type tensor struct {
	input, output []byte
	observer      Observer
}

func (t *tensor) Prepare(_ context.Context, _ *model.Preparer, lane *model.Lane) error {
	return lane.SetInput(t.input)
}

// Sample is false: to copy a row takes microseconds.
func (t *tensor) Sample() bool { return false }

func (t *tensor) Finish(lane *model.Lane, waited time.Duration) error {
	t.observer.Observe(Queue, waited)
	t.output = append([]byte(nil), lane.Output()...)
	return nil
}

// observer is an Observer as the engine knows it.
type observer struct{ Observer }

func (o observer) Ran(lanes int, took time.Duration) {
	o.Observe(Run, took)
	o.Batch(lanes)
}
