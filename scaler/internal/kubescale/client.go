// Package kubescale is the scaler's side of Kubernetes: it reads the target and
// its pods, writes the target's scale, marks pods that may go first, lends pods CPU
// in place, publishes events, keeps the scaler's state in a ConfigMap, and holds the
// Lease that makes one of several scalers the one that writes. It is the only
// package that uses client-go.
package kubescale

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// callTimeout bounds every call to the API server, besides its context. Watches
// are bounded by watchTime.
const callTimeout = 5 * time.Second

// Client is how this package reaches one API server.
type Client struct {
	// Kubernetes and Dynamic end each call after 5 s at the latest.
	Kubernetes kubernetes.Interface
	Dynamic    dynamic.Interface
	// Watches is for watches, which live longer than that.
	Watches kubernetes.Interface
}

// Connect makes a client from a kubeconfig (a path, or several as KUBECONFIG
// lists them) or, where that is empty, from the pod's service account. It does
// not call the API server.
func Connect(kubeconfig string) (*Client, error) {
	config, err := restConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	return newClient(config)
}

func newClient(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = "headroom-scaler"
	// A few small objects: JSON, which a person can read in a proxy, costs nothing here.
	config.ContentType, config.AcceptContentTypes = "application/json", "application/json"
	// client-go's own limit of 5 calls per second would hold up a resize of many
	// pods; those are sent a bounded number at a time, and the server has limits of its own.
	config.QPS = -1
	watches, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	config.Timeout = callTimeout
	calls, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	generic, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	return &Client{Kubernetes: calls, Dynamic: generic, Watches: watches}, nil
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, errors.New("no --kubeconfig was given, and this is not a pod with a service account")
		} else if err != nil {
			return nil, fmt.Errorf("service account: %w", err)
		}
		return config, nil
	}
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(kubeconfig)}
	if len(rules.Precedence) == 1 {
		rules = &clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig} // must exist then
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig %s: %w", kubeconfig, err)
	}
	return config, nil
}
