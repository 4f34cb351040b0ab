package config

import "reflect"

// Restart names the keys whose change takes effect only when the process starts
// anew: what it is, in the cluster and on the network. All other keys can be
// taken over while it runs.
func Restart(old, changed Config) []string {
	var keys []string
	for _, part := range []struct {
		key  string
		same bool
	}{
		{"target.namespace", old.Target.Namespace == changed.Target.Namespace},
		{"target.apiVersion", old.Target.APIVersion == changed.Target.APIVersion},
		{"target.kind", old.Target.Kind == changed.Target.Kind},
		{"target.resource", old.Target.Resource == changed.Target.Resource},
		{"target.name", old.Target.Name == changed.Target.Name},
		{"target.container", old.Target.Container == changed.Target.Container},
		{"processes", reflect.DeepEqual(old.Processes, changed.Processes)},
		{"lease.enabled", old.Lease.Enabled == changed.Lease.Enabled},
		{"lease.namespace", old.Lease.Namespace == changed.Lease.Namespace},
		{"lease.name", old.Lease.Name == changed.Lease.Name},
		{"state.configMap", old.State.ConfigMap == changed.State.ConfigMap},
		{"listen", old.Listen == changed.Listen},
	} {
		if !part.same {
			keys = append(keys, part.key)
		}
	}
	return keys
}
