package kubescale

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Ref names any object that has a scale subresource: a Deployment, a StatefulSet,
// an Argo Rollout, a custom resource.
type Ref struct {
	// APIVersion is the group and version, as in "apps/v1", and Kind the kind, as in
	// "Deployment".
	APIVersion, Kind string
	// Resource is the plural in the API's paths. Empty means the kind in lower case
	// with an s, which suits all but a few.
	Resource        string
	Namespace, Name string
}

// String is the reference as logs and errors show it: "deployment headroom/model-server".
func (r Ref) String() string { return strings.ToLower(r.Kind) + " " + r.Namespace + "/" + r.Name }

// resource says where in the API the object is.
func (r Ref) resource() (schema.GroupVersionResource, error) {
	version, err := schema.ParseGroupVersion(r.APIVersion)
	switch {
	case err != nil:
		return schema.GroupVersionResource{}, fmt.Errorf("target %s: apiVersion %q: %w", r, r.APIVersion, err)
	case version.Version == "" || r.Kind == "" || r.Namespace == "" || r.Name == "":
		return schema.GroupVersionResource{}, errors.New("target: apiVersion, kind, namespace and name are all needed")
	}
	plural := r.Resource
	if plural == "" {
		plural = strings.ToLower(r.Kind) + "s"
	}
	return version.WithResource(plural), nil
}

// object is the reference in an event. Without the uid, `kubectl describe` of the
// object doesn't show the event.
func (r Ref) object(uid types.UID) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: r.APIVersion, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, UID: uid}
}
