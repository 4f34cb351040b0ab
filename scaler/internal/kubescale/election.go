package kubescale

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Election makes one of several scalers the leader, by a Lease.
type Election struct {
	config leaderelection.LeaderElectionConfig
	log    *slog.Logger
	leads  atomic.Bool
}

// How long a dead leader's Lease keeps others out, how long a leader tries to
// renew before it stands down, and how long it waits between tries. They are
// client-go's usual ones: a crashed leader is replaced within about 17 s, one that
// ends in order at the next try.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// NewElection prepares to stand for the Lease namespace/name as identity, which
// must be different for each scaler.
func NewElection(client *Client, namespace, name, identity string, log *slog.Logger) (*Election, error) {
	e := &Election{log: log}
	e.config = leaderelection.LeaderElectionConfig{
		Name: name,
		Lock: &watchedLock{
			Interface: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name},
				Client:     client.Kubernetes.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
			},
			log: log,
		},
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			// client-go starts this on a goroutine of its own, which may come late: so it
			// is the term's context, not the order of the callbacks, that ends the lead.
			OnStartedLeading: func(term context.Context) {
				if term.Err() != nil {
					return
				}
				e.leads.Store(true)
				e.log.Info("leading", "lease", namespace+"/"+name, "identity", identity)
				<-term.Done()
				e.leads.Store(false)
			},
			OnStoppedLeading: func() { e.leads.Store(false) },
		},
	}
	if _, err := leaderelection.NewLeaderElector(e.config); err != nil {
		return nil, fmt.Errorf("lease %s/%s: %w", namespace, name, err)
	}
	return e, nil
}

// Leads tells whether this scaler is the leader.
func (e *Election) Leads() bool { return e.leads.Load() }

// Run stands for election until the context is done, again after a lost lead. It
// gives the Lease back in the end, so whatever only the leader may do must have
// ended before the context does.
func (e *Election) Run(ctx context.Context) {
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(e.config)
		if err != nil {
			e.log.Error("standing for election", "error", err.Error()) // NewElection has made one of the same config
			return
		}
		elector.Run(ctx)
		if ctx.Err() == nil {
			e.log.Warn("the lead was lost, standing again", "lease", e.config.Lock.Describe())
		}
	}
}

// watchedLock logs when the Lease can't be read or written, and when it can be
// again: once each, where client-go would repeat it with every try.
type watchedLock struct {
	resourcelock.Interface
	log *slog.Logger
	// Whether the last read and the last write failed. The elector's one goroutine uses them.
	readFails, writeFails bool
}

// Get reads the Lease.
func (l *watchedLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	l.note(ctx, &l.readFails, err)
	return record, raw, err
}

// Create makes the Lease.
func (l *watchedLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	err := l.Interface.Create(ctx, record)
	l.note(ctx, &l.writeFails, err)
	return err
}

// Update writes the Lease.
func (l *watchedLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	err := l.Interface.Update(ctx, record)
	l.note(ctx, &l.writeFails, err)
	return err
}

func (l *watchedLock) note(ctx context.Context, fails *bool, err error) {
	// That it isn't there yet, or that another was faster, is how elections go.
	usual := apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err)
	failing := l.readFails || l.writeFails
	switch {
	case err == nil:
		*fails = false
	case !usual && ctx.Err() == nil:
		*fails = true
	}
	switch now := l.readFails || l.writeFails; {
	case now && !failing:
		l.log.Warn("the lease can't be used, trying on", "source", "kubernetes", "error", err.Error())
	case failing && !now:
		l.log.Info("the lease can be used again", "source", "kubernetes")
	}
}
