package hpa

import "k8s.io/apimachinery/pkg/runtime/schema"

// One Deployment, its scale and its autoscaler carry one name.
const (
	namespace = "default"
	target    = "model-server"
	selector  = "app=" + target
)

var (
	deployments = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	podLabels   = map[string]string{"app": target}
)
