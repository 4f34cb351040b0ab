package kubescale

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/util/retry"
)

const (
	// stateKey is where in the ConfigMap the state is.
	stateKey = "state.json"
	// stateMax is the most bytes of state. A ConfigMap may have 1 MiB with all that
	// belongs to it.
	stateMax = 512 << 10
)

// Store keeps bytes in a ConfigMap: a [control.Store]. Make one with [NewStore].
type Store struct {
	configMaps      typedcorev1.ConfigMapInterface
	namespace, name string
}

// NewStore makes a store in the ConfigMap of that name, which Save creates where it
// is missing. Its other keys are left alone.
func NewStore(client *Client, namespace, name string) *Store {
	return &Store{configMaps: client.Kubernetes.CoreV1().ConfigMaps(namespace), namespace: namespace, name: name}
}

func (s *Store) String() string { return "configmap " + s.namespace + "/" + s.name }

// Load returns what was saved last, nil when nothing was.
func (s *Store) Load(ctx context.Context) ([]byte, error) {
	found, err := s.configMaps.Get(ctx, s.name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("loading state from %s: %w", s, err)
	}
	state, ok := found.Data[stateKey]
	if !ok {
		return nil, nil
	}
	return []byte(state), nil
}

// Save keeps the state, which must be text of 512 KiB at most. What others write
// to the ConfigMap meanwhile stays.
func (s *Store) Save(ctx context.Context, state []byte) error {
	if len(state) > stateMax {
		return fmt.Errorf("saving state to %s: %d bytes, at most %d are kept", s, len(state), stateMax)
	}
	data := map[string]string{stateKey: string(state)}
	patch, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return fmt.Errorf("saving state to %s: %w", s, err)
	}
	// A patch of the one key needs no version and so rarely conflicts: where it does,
	// and where another creates the ConfigMap first, it is sent again.
	again := func(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }
	err = retry.OnError(retry.DefaultRetry, again, func() error {
		_, err := s.configMaps.Patch(ctx, s.name, types.MergePatchType, patch, metav1.PatchOptions{})
		if !apierrors.IsNotFound(err) {
			return err
		}
		created := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: s.name, Namespace: s.namespace}, Data: data}
		_, err = s.configMaps.Create(ctx, created, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("saving state to %s: %w", s, err)
	}
	return nil
}
