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
	"sync/atomic"
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
	// decoded at a time, at least 1; Resize changes it.
	Slots int
	// Waiting is how many requests may wait for a slot, at least 0; Resize changes
	// it.
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
	resizing sync.Mutex
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

// start makes the slots and the engine.
func (c *Classifier) start(ctx context.Context) (err error) {
	var slots []*slot
	defer func() {
		if err != nil {
			for _, s := range slots {
				s.close()
			}
		}
	}()
	first, err := c.newSlot(max(c.config.MaxBatch, 1))
	if err != nil {
		return err
	}
	slots = append(slots, first)
	fastest, err := first.warmUp(ctx)
	if err != nil {
		return err
	}
	if c.config.MaxBatch == 0 && c.Batch() == 0 {
		if c.report.Costs, err = c.costs(ctx, first, fastest); err != nil {
			return err
		}
		if batch := inference.BestBatch(c.report.Costs); batch > 1 {
			if err := c.rebatch(first, batch); err != nil {
				return err
			}
			if _, err := first.warmUp(ctx); err != nil {
				return err
			}
		}
	}
	c.report.Batch = first.runner.Batch()
	for len(slots) < c.config.Slots {
		s, err := c.newSlot(c.report.Batch)
		if err != nil {
			return err
		}
		slots = append(slots, s)
		took, err := s.warmUp(ctx)
		if err != nil {
			return err
		}
		fastest = min(fastest, took)
	}

	parts := inference.Parts[*model.Preparer, *model.Lane]{
		Waiting: c.config.Waiting, Fastest: fastest, Observer: observer{c.config.Observer},
	}
	for _, s := range slots {
		parts.Slots = append(parts.Slots, s.parts())
	}
	c.engine = inference.New(parts)
	return nil
}

// triedBatches are the sizes that calibration tries, each triedRounds times.
var triedBatches = []int{1, 2, 4, 8}

const triedRounds = 3

// costs measures the CPU time of runs on several pictures, the sizes in turn, and
// gives the fastest of each. What would not fit into the time for calibration,
// going by that of a run on one picture, is not tried; where the time ends all
// the same, as a container's CPU limit makes it stand still, nothing is given.
func (c *Classifier) costs(ctx context.Context, s *slot, single time.Duration) ([]inference.BatchCost, error) {
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
	if err := c.addLanes(s, largest); err != nil {
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
			if err := runner.Run(ctx, s.lanes[:size]); err != nil {
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

// Close frees everything. No request may be under way, and no Resize.
func (c *Classifier) Close() error {
	if c.engine != nil {
		c.engine.Close()
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

func (p *picture) Continues() bool { return false }

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
	var begun atomic.Bool
	done, underWay := make(chan struct{}, rows), 0
	for i := range rows {
		// Asked each time: their number may change meanwhile.
		for underWay >= c.engine.Slots() {
			<-done
			underWay--
		}
		underWay++
		group.Go(func() {
			defer func() {
				// No caller's recover sees this goroutine.
				if p := recover(); p != nil {
					stop(fmt.Errorf("inferring panicked: %v\n%s", p, debug.Stack()))
				}
				done <- struct{}{}
			}()
			t := tensor{input: input[i*size:][:size], begun: &begun, observer: c.config.Observer}
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
	begun         *atomic.Bool // a row of its request has come
	observer      Observer
}

func (t *tensor) Prepare(_ context.Context, _ *model.Preparer, lane *model.Lane) error {
	return lane.SetInput(t.input)
}

// Sample is false: to copy a row takes microseconds.
func (t *tensor) Sample() bool { return false }

func (t *tensor) Continues() bool { return t.begun.Swap(true) }

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
