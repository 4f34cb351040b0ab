package sim

import "time"

// Scaler decides how many replicas there should be. A value is for one run.
type Scaler interface {
	// Every is the time between decisions, above 0.
	Every() time.Duration
	// Decide is asked at each of them, with what it may know of the world.
	Decide(at time.Duration, w *World) Order
}

// Order is what a scaler wants from now on.
type Order struct {
	// Replicas is at least 0; less counts as 0.
	Replicas int
	// CPUFactor is how many times its usual CPU limit each ready replica should
	// have; 0 or less counts as 1.
	CPUFactor float64
}

// failing is a scaler that may fail, and then leaves everything as it is.
type failing interface{ failure() error }

// Fixed always wants n replicas.
func Fixed(n int) Scaler { return fixed(n) }

type fixed int

func (f fixed) Every() time.Duration               { return time.Second }
func (f fixed) Decide(time.Duration, *World) Order { return Order{Replicas: int(f)} }
