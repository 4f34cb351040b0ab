// Package kubescale is the scaler's side of Kubernetes: it reads the target,
// writes its scale subresource and nothing else, publishes events, and holds the
// Lease that makes one of several scalers the one that writes. It is the only
// package that uses client-go.
package kubescale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// callTimeout bounds every call to the API server, besides its context.
const callTimeout = 5 * time.Second

// Connect makes a client from a kubeconfig (a path, or several as KUBECONFIG
// lists them) or, where that is empty, from the pod's service account. It does
// not call the API server.
func Connect(kubeconfig string) (kubernetes.Interface, error) {
	config, err := restConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	config.Timeout = callTimeout
	config.UserAgent = "headroom-scaler"
	// A few small objects: JSON, which a person can read in a proxy, costs nothing here.
	config.ContentType, config.AcceptContentTypes = "application/json", "application/json"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	return client, nil
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

// RouteLogs sends what client-go logs to log at level debug. It repeats itself
// with every failed try; what matters of it, the caller learns from errors.
func RouteLogs(log *slog.Logger) {
	klog.SetSlogLogger(slog.New(debugOnly{log.Handler()}))
}

type debugOnly struct{ slog.Handler }

// Enabled tells whether the handler takes debug records: all of these are.
func (h debugOnly) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle passes a record on as one of level debug. It looks whether that is
// wanted: for errors, nobody has asked Enabled.
func (h debugOnly) Handle(ctx context.Context, r slog.Record) error {
	if !h.Handler.Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	r.Level = slog.LevelDebug
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the wrapping.
func (h debugOnly) WithAttrs(attrs []slog.Attr) slog.Handler {
	return debugOnly{h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the wrapping.
func (h debugOnly) WithGroup(name string) slog.Handler { return debugOnly{h.Handler.WithGroup(name)} }
