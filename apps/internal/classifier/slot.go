package classifier

import (
	"context"
	"fmt"
	"time"

	"headroom.dev/apps/internal/inference"
	"headroom.dev/apps/internal/model"
)

// slot is what takes one more request at a time.
type slot struct {
	preparer *model.Preparer
	runner   *model.Runner
	lanes    []*model.Lane
}

// newSlot makes a slot whose runs take up to batch pictures.
func (c *Classifier) newSlot(batch int) (s *slot, err error) {
	s = &slot{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.preparer, err = c.NewPreparer(c.config.Limits); err != nil {
		return nil, err
	}
	return s, c.rebatch(s, batch)
}

// rebatch gives a slot a runner of up to batch pictures a run, in place of the
// one that it may have, and the lanes that it takes.
func (c *Classifier) rebatch(s *slot, batch int) error {
	runner, err := c.NewRunner(batch)
	if err != nil {
		return err
	}
	if s.runner != nil {
		s.runner.Close()
	}
	s.runner = runner
	return c.addLanes(s, 1+runner.Batch())
}

// addLanes makes lanes until the slot has n.
func (c *Classifier) addLanes(s *slot, n int) error {
	for len(s.lanes) < n {
		lane, err := c.NewLane()
		if err != nil {
			return err
		}
		s.lanes = append(s.lanes, lane)
	}
	return nil
}

// warmUp returns the time of the fastest run on one picture.
func (s *slot) warmUp(ctx context.Context) (fastest time.Duration, err error) {
	return s.runner.WarmUp(ctx, s.preparer, s.lanes[0], warmUps)
}

// parts are the slot's, as an engine takes them over.
func (s *slot) parts() inference.Slot[*model.Preparer, *model.Lane] {
	return inference.Slot[*model.Preparer, *model.Lane]{Preparer: s.preparer, Runner: s.runner, Lanes: s.lanes}
}

// close frees the parts that there are.
func (s *slot) close() {
	if s.preparer != nil {
		s.preparer.Close()
	}
	if s.runner != nil {
		s.runner.Close()
	}
	for _, lane := range s.lanes {
		lane.Close()
	}
}

// Slots is how many runs there are at a time.
func (c *Classifier) Slots() int { return c.engine.Slots() }

// Resize changes how many runs there are at a time, at least 1, and how many
// requests may wait for one, at least 0. What waits begins at once where there are
// more; where there are fewer, what is under way or waits is answered all the same.
// After an error there are as many as could be made.
func (c *Classifier) Resize(slots, waiting int) error {
	c.resizing.Lock()
	defer c.resizing.Unlock()
	c.engine.SetWaiting(waiting)
	for c.engine.Slots() < slots {
		// Not warmed up: the network is, and somebody may wait for the slot.
		s, err := c.newSlot(c.report.Batch)
		if err != nil {
			return fmt.Errorf("making slot %d of %d: %w", c.engine.Slots()+1, slots, err)
		}
		c.engine.Grow(s.parts())
	}
	for c.engine.Slots() > max(1, slots) {
		c.engine.Shrink()
	}
	return nil
}
