package kubescale

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func stand(t *testing.T, client *fake.Clientset, identity string, log *slog.Logger) (e *Election, resign func()) {
	t.Helper()
	e, err := NewElection(&Client{Kubernetes: client}, namespace, "headroom-scaler", identity, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { e.Run(ctx); close(done) }()
	resign = func() { cancel(); <-done }
	t.Cleanup(resign)
	return e, resign
}

func TestOneLeadsAndTheNextTakesOverWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		first, resign := stand(t, client, "first", slog.New(slog.DiscardHandler))
		synctest.Wait()
		if !first.Leads() {
			t.Fatal("nobody leads")
		}
		second, _ := stand(t, client, "second", slog.New(slog.DiscardHandler))
		time.Sleep(time.Minute)
		synctest.Wait()
		if !first.Leads() || second.Leads() {
			t.Fatalf("the first leads: %t, the second: %t, while both stand", first.Leads(), second.Leads())
		}
		resign()
		if first.Leads() {
			t.Error("the one that ended still leads")
		}
		lease, err := client.CoordinationV1().Leases(namespace).Get(context.Background(), "headroom-scaler", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if holder := lease.Spec.HolderIdentity; holder != nil && *holder == "first" {
			t.Error("the lease was not given back")
		}
		time.Sleep(3 * retryPeriod)
		synctest.Wait()
		if !second.Leads() {
			t.Error("the second doesn't lead after three tries")
		}
	})
}

// A role without the right to write the Lease must not leave a silent follower.
func TestALeaseThatCannotBeWrittenIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		tries := 0
		client.PrependReactor("create", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			tries++
			return tries <= 2, nil, apierrors.NewForbidden(coordinationv1.Resource("leases"), "headroom-scaler", errors.New("no such right"))
		})
		var log lockedBuilder
		e, _ := stand(t, client, "me", slog.New(slog.NewTextHandler(&log, nil)))
		time.Sleep(10 * retryPeriod)
		synctest.Wait()
		if text := log.String(); !e.Leads() || strings.Count(text, "no such right") != 1 || strings.Count(text, "the lease can be used again") != 1 || tries != 3 {
			t.Errorf("leads: %t, %d tries, and two refusals were logged as:\n%s", e.Leads(), tries, text)
		}
	})
}
