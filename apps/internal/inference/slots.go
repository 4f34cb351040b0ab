package inference

import "slices"

// Slots is how many runs of the network there may be at the same time.
func (e *Engine[P, L]) Slots() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.brought)
}

// Grow puts one more slot to work: what waits for it begins at once.
func (e *Engine[P, L]) Grow(slot Slot[P, L]) {
	e.mu.Lock()
	e.brought = append(e.brought, len(slot.Lanes))
	e.lanes.add(len(slot.Lanes))
	e.preparers.add(1)
	e.running++
	e.workers.Go(func() { e.work(slot.Runner) })
	// Those of a slot that was taken out of service may be in use yet: then they
	// stay, and these are not needed.
	var spare []Part
	for _, lane := range slot.Lanes {
		if !e.offerLane(lane) {
			spare = append(spare, lane)
		}
	}
	if !e.offer(slot.Preparer) {
		spare = append(spare, slot.Preparer)
	}
	e.mu.Unlock()
	closeAll(spare)
}

// Shrink takes the slot that came last out of service; the only one stays. What
// is being prepared or run goes on to its end, and what waits keeps its place:
// parts that are in use are freed when they come back.
func (e *Engine[P, L]) Shrink() {
	e.mu.Lock()
	last := len(e.brought) - 1
	if last < 1 {
		e.mu.Unlock()
		return
	}
	e.preparers.wanted--
	e.lanes.wanted -= e.brought[last]
	e.brought = e.brought[:last]
	preparers, lanes := e.preparers.drain(), e.lanes.drain()
	e.readied.Broadcast()
	e.mu.Unlock()
	closeAll(preparers)
	closeAll(lanes)
}

// SetWaiting changes how many requests may wait to be prepared, at least 0. Those
// that wait already stay.
func (e *Engine[P, L]) SetWaiting(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waitingMax = n
}

// takeLane waits for a lane, behind those who have waited for longer.
func (e *Engine[P, L]) takeLane(f *flight[P, L]) (lane L, err error) {
	e.mu.Lock()
	if lane, free := e.lanes.take(); free {
		e.mu.Unlock()
		return lane, nil
	}
	e.laneless = append(e.laneless, f)
	e.mu.Unlock()
	select {
	case lane = <-f.laned:
		return lane, nil
	case <-f.ctx.Done():
	}
	e.mu.Lock()
	i := slices.Index(e.laneless, f)
	if i >= 0 {
		e.laneless = slices.Delete(e.laneless, i, i+1)
	}
	e.mu.Unlock()
	if i < 0 { // it has just been given one
		e.giveLane(<-f.laned)
	}
	return lane, f.ctx.Err()
}

// giveLane hands a lane to the next that waits for one.
func (e *Engine[P, L]) giveLane(lane L) {
	e.mu.Lock()
	kept := e.offerLane(lane)
	e.mu.Unlock()
	if !kept {
		lane.Close()
	}
}

// offerLane is giveLane but for closing what is one too many, where it is false.
// The caller holds mu.
func (e *Engine[P, L]) offerLane(lane L) (kept bool) {
	if e.lanes.surplus() {
		e.lanes.all--
		return false
	}
	if len(e.laneless) == 0 {
		e.lanes.free = append(e.lanes.free, lane)
		return true
	}
	e.laneless[0].laned <- lane
	e.laneless = slices.Delete(e.laneless, 0, 1)
	return true
}
