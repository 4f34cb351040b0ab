package model

import (
	"fmt"
	"math"

	"headroom.dev/apps/internal/onnx"
	"headroom.dev/apps/internal/reply"
)

// sumTolerance is how far from 1 the sum of a network's own probabilities may
// be: halves have 11 bits, and a thousand of them add their errors up.
const sumTolerance = 0.05

// tolerance is how far from 1 the sum of the network's own probabilities may
// be. Each of a uint8 output is rounded to a multiple of its scale.
func (r resolved) tolerance() float64 {
	if r.output.Type == onnx.Uint8 {
		return sumTolerance + 0.5*r.spec.Output.Scale*float64(r.classes)
	}
	return sumTolerance
}

// probabilities turns one row of a network's output, in place, into
// probabilities.
func probabilities(values []float32, spec Output, tolerance float64) error {
	highest := float32(math.Inf(-1))
	for i, v := range values {
		if spec.Scale != 1 || spec.ZeroPoint != 0 {
			v = (v - float32(spec.ZeroPoint)) * float32(spec.Scale)
			values[i] = v
		}
		if v != v || v > math.MaxFloat32 || v < -math.MaxFloat32 {
			return fmt.Errorf("class %d is %v, which is no finite number", i, v)
		}
		highest = max(highest, v)
	}
	sum := 0.0
	if spec.Kind == Logits {
		// exp of a difference that is never above 0 can't overflow.
		for i, v := range values {
			e := math.Exp(float64(v - highest))
			values[i] = float32(e)
			sum += e
		}
		for i, e := range values {
			values[i] = float32(float64(e) / sum)
		}
		return nil
	}
	for i, v := range values {
		sum += float64(v)
		if float64(v) < -tolerance || float64(v) > 1+tolerance {
			return fmt.Errorf("class %d is %v, which is no probability: is output.kind in %s logits?", i, v, SpecFile)
		}
		values[i] = min(max(v, 0), 1)
	}
	if math.Abs(sum-1) > tolerance {
		return fmt.Errorf("the classes add up to %.3f, not 1: is output.kind in %s logits?", sum, SpecFile)
	}
	return nil
}

// top appends the k most probable classes (all, where there are fewer) to dst,
// most probable first; what is equally probable comes in the classes' order.
// It keeps the best so far sorted, which for a few of many is faster than
// sorting all.
func top(dst []reply.Prediction, probabilities []float32, labels []string, k int) []reply.Prediction {
	first := len(dst)
	k = min(k, len(probabilities))
	for class, p := range probabilities {
		if len(dst)-first == k {
			if float64(p) <= dst[len(dst)-1].Probability {
				continue
			}
			dst = dst[:len(dst)-1]
		}
		dst = append(dst, reply.Prediction{Class: class, Probability: float64(p)})
		for i := len(dst) - 1; i > first && dst[i-1].Probability < dst[i].Probability; i-- {
			dst[i-1], dst[i] = dst[i], dst[i-1]
		}
	}
	if len(labels) > 0 {
		for i := range dst[first:] {
			dst[first+i].Label = labels[dst[first+i].Class]
		}
	}
	return dst
}
