package control

import (
	"context"
	"errors"

	"headroom.dev/scaler/internal/policy"
)

// Replicas are what a target has.
type Replicas struct {
	// Spec is how many it is told to have, Ready how many are ready.
	Spec, Ready int
	// Starting and BecameReady are as in [policy.Snapshot]. What became ready is
	// told once, by the first Read after it.
	Starting, BecameReady []policy.Cohort
	// Annotations are the target's own: what people order with them.
	Annotations map[string]string
	// Version identifies the state that was read, for [Target.Scale].
	Version string
	// Resizes tells how far the ready replicas have followed [Target.Resize].
	Resizes Resizes
}

// Resizes counts replicas by what became of their last change of CPU.
type Resizes struct {
	// Raised have more CPU than usual now, Pending are about to be changed, Deferred
	// wait for room on their node, and Infeasible never fit there.
	Raised, Pending, Deferred, Infeasible int
	// Unsupported says that the API server or the target can't do it at all.
	Unsupported bool
}

// Measured is what one reading of the signals gave.
type Measured struct {
	Signals policy.Signals
	// Ages are the seconds since the newest sample behind each signal, by the
	// signal's name; a signal of unknown age is not in it.
	Ages map[string]float64
	// Work is the requests that each replica has to do, by its host (the part of its
	// address before the port). Replicas that nothing is known of are not in it.
	Work map[string]float64
}

// Signals is where measurements come from.
type Signals interface {
	// Read returns what could be read. An error says that something could not; the
	// signals concerned are then missing, and the others as good as ever.
	Read(context.Context) (Measured, error)
}

// Target is what is scaled.
type Target interface {
	Read(context.Context) (Replicas, error)
	// Scale tells the target to have `to` replicas, and publishes why as an event.
	// Before it takes replicas away it marks those with the least work to go first.
	// It returns [ErrChanged] when the target is no longer as it was seen.
	Scale(ctx context.Context, seen Replicas, to int, why string, work map[string]float64) error
	// Resize gives every ready replica factor times its usual CPU, and those that
	// have more than that their usual CPU back. It does nothing where that is so.
	Resize(ctx context.Context, factor float64) error
	// Announce publishes an event about the target that is no scaling.
	Announce(reason, message string)
	String() string
}

// Store keeps what the policy remembers, for the scaler that leads next.
type Store interface {
	// Load returns what was saved last, nil when nothing was.
	Load(context.Context) ([]byte, error)
	Save(context.Context, []byte) error
}

// ErrChanged means that somebody else changed the target since it was read.
var ErrChanged = errors.New("the target was changed since it was read")
