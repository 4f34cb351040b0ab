package endpoints

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"

	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/fleet"
)

func conditions(ready, terminating bool) discovery.EndpointConditions {
	return discovery.EndpointConditions{Ready: &ready, Terminating: &terminating}
}

func slice(name, service string, port int32, endpoints ...discovery.Endpoint) *discovery.EndpointSlice {
	portName := "http"
	return &discovery.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{discovery.LabelServiceName: service}},
		Ports:      []discovery.EndpointPort{{Name: &portName, Port: &port}},
		Endpoints:  endpoints,
	}
}

func endpoint(address string, c discovery.EndpointConditions) discovery.Endpoint {
	return discovery.Endpoint{Addresses: []string{address}, Conditions: c}
}

func TestFromSlices(t *testing.T) {
	other := "metrics"
	port := int32(8001)
	got := FromSlices([]*discovery.EndpointSlice{
		slice("1", "m", 6001,
			endpoint("10.0.0.3", conditions(true, false)),
			endpoint("10.0.0.1", conditions(false, false)),
			endpoint("10.0.0.2", conditions(false, true)),
			// A Service that publishes addresses early calls this one ready.
			endpoint("10.0.0.4", conditions(true, true)),
			// Conditions that are not set mean ready.
			endpoint("10.0.0.5", discovery.EndpointConditions{}),
			discovery.Endpoint{},
		),
		slice("2", "m", 6001,
			endpoint("fd00::1", conditions(true, false)),
			// On its way from one slice to another.
			endpoint("10.0.0.3", conditions(false, true)),
		),
		{Ports: []discovery.EndpointPort{{Name: &other, Port: &port}, {}}, Endpoints: []discovery.Endpoint{endpoint("10.0.0.9", conditions(true, false))}},
	}, "http")
	want := []fleet.Endpoint{
		{URL: "http://10.0.0.1:6001", State: dispatch.Starting},
		{URL: "http://10.0.0.2:6001", State: dispatch.Terminating},
		{URL: "http://10.0.0.3:6001", State: dispatch.Terminating},
		{URL: "http://10.0.0.4:6001", State: dispatch.Terminating},
		{URL: "http://10.0.0.5:6001", State: dispatch.Ready},
		{URL: "http://[fd00::1]:6001", State: dispatch.Ready},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// fakeCluster says what a fake can't do, as the fake clientset itself does.
type fakeCluster struct {
	discoveryclient.EndpointSlicesGetter
}

// IsWatchListSemanticsUnSupported is asked for by client-go.
func (fakeCluster) IsWatchListSemanticsUnSupported() bool { return true }

func TestWatchFollowsTheService(t *testing.T) {
	client := fake.NewClientset(
		slice("m-1", "m", 6001, endpoint("10.0.0.1", conditions(false, false))),
		slice("other-1", "other", 6001, endpoint("10.0.0.9", conditions(true, false))),
	)
	slices := client.DiscoveryV1().EndpointSlices("ns")
	ctx, cancel := context.WithCancel(t.Context())
	reports := make(chan []fleet.Endpoint, 10)
	ended := make(chan error, 1)
	go func() {
		ended <- Watch(ctx, fakeCluster{EndpointSlicesGetter: client.DiscoveryV1()}, Service{Namespace: "ns", Name: "m", Port: "http"}, slog.New(slog.DiscardHandler), func(e []fleet.Endpoint) { reports <- e })
	}()
	expect := func(want string) {
		t.Helper()
		deadline := time.After(10 * time.Second)
		var last string
		for {
			select {
			case got := <-reports:
				var parts []string
				for _, e := range got {
					parts = append(parts, fmt.Sprintf("%s %s", strings.TrimPrefix(e.URL, "http://"), e.State))
				}
				if last = strings.Join(parts, ", "); last == want {
					return
				}
			case <-deadline:
				t.Fatalf("last report %q, want %q", last, want)
			}
		}
	}

	expect("10.0.0.1:6001 starting")
	if _, err := slices.Update(ctx, slice("m-1", "m", 6001, endpoint("10.0.0.1", conditions(true, false))), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("10.0.0.1:6001 ready")
	if _, err := slices.Create(ctx, slice("m-2", "m", 6001, endpoint("10.0.0.2", conditions(true, false))), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("10.0.0.1:6001 ready, 10.0.0.2:6001 ready")
	if err := slices.Delete(ctx, "m-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("10.0.0.2:6001 ready")

	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	for _, a := range client.Actions() {
		if a.GetResource().Resource == "endpointslices" && a.GetNamespace() != "ns" {
			t.Errorf("%s outside its namespace, in %q", a.GetVerb(), a.GetNamespace())
		}
	}
}

func TestProbeTellsReadyFromStarting(t *testing.T) {
	var status atomic.Int32
	status.Store(http.StatusServiceUnavailable)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(int(status.Load()))
	}))
	defer server.Close()
	nobody := httptest.NewServer(nil)
	nobody.Close()

	ctx, cancel := context.WithCancel(t.Context())
	reports := make(chan []fleet.Endpoint)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Probe(ctx, []string{server.URL, nobody.URL}, 10*time.Millisecond, func(e []fleet.Endpoint) { reports <- e })
	}()
	expect := func(first dispatch.State) {
		t.Helper()
		want := []fleet.Endpoint{{URL: server.URL, State: first}, {URL: nobody.URL, State: dispatch.Starting}}
		select {
		case got := <-reports:
			if !reflect.DeepEqual(got, want) {
				t.Errorf("reported %v, want %v", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no report of %v", want)
		}
	}
	expect(dispatch.Starting)
	status.Store(http.StatusOK)
	expect(dispatch.Ready)
	status.Store(http.StatusServiceUnavailable)
	expect(dispatch.Starting)
	cancel()
	<-ended
}

func TestParse(t *testing.T) {
	for _, text := range []string{"", "model-server", "/m", "n/", "a/b/c"} {
		if s, err := ParseService(text); err == nil {
			t.Errorf("%q was taken for %+v", text, s)
		}
	}
	if s, err := ParseService("ns/m"); err != nil || s.Namespace != "ns" || s.Name != "m" {
		t.Errorf("%+v, %v", s, err)
	}
	for _, texts := range [][]string{nil, {"127.0.0.1:6001"}, {"ftp://h"}, {"http://"}, {"http://h?x=1"}, {"http://u:p@h"}, {"http://h", "http://h/"}} {
		if urls, err := ParseURLs(texts); err == nil {
			t.Errorf("%q was taken for %v", texts, urls)
		}
	}
	if urls, err := ParseURLs([]string{"http://h:1/", "https://h:2/base"}); err != nil || fmt.Sprint(urls) != "[http://h:1 https://h:2/base]" {
		t.Errorf("%v, %v", urls, err)
	}
}
