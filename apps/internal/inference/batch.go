package inference

import "time"

// BatchCost is what one run on Size pictures costs, in CPU time.
type BatchCost struct {
	Size int           `json:"size"`
	Cost time.Duration `json:"cost_ns"`
}

// MinBatchGain is by how much the pictures a second of CPU must grow for
// batches to be used. On a CPU a batch often gains nothing, and it makes the
// first of its pictures wait for the last.
const MinBatchGain = 1.1

// BestBatch is the size of batch with the lowest cost a picture, or 1 where the
// costs show no gain of MinBatchGain. Of sizes that gain the same within a
// hundredth the smallest is taken. costs must begin with that of size 1.
func BestBatch(costs []BatchCost) int {
	if len(costs) == 0 || costs[0].Size != 1 {
		return 1
	}
	best, bestGain := 1, MinBatchGain
	for _, c := range costs[1:] {
		if c.Cost <= 0 {
			continue
		}
		gain := float64(costs[0].Cost) * float64(c.Size) / float64(c.Cost)
		if gain >= bestGain && (best == 1 || gain > 1.01*bestGain) {
			best, bestGain = c.Size, gain
		}
	}
	return best
}
