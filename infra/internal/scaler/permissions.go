package scaler

import "headroom.dev/infra/internal/workload"

// permissions are the least that the scaler works with: it sets the number of
// replicas of one Deployment and can change nothing else about it. RBAC can't
// name pods that come and go, so those of the whole namespace are open to it.
func permissions(args Args) []workload.Permission {
	target, states := []string{args.Deployment}, []string{state}
	all := []workload.Permission{
		{Group: "apps", Resources: []string{"deployments"}, Verbs: []string{"get"}, Names: target},
		{Group: "apps", Resources: []string{"deployments/scale"}, Verbs: []string{"get"}, Names: target},
		{Group: "", Resources: []string{"pods"}, Verbs: []string{"list", "watch"}},
		{Group: "", Resources: []string{"configmaps"}, Verbs: []string{"get"}, Names: states},
		// An object that isn't there yet can't be named in a permission to make it.
		{Group: "coordination.k8s.io", Resources: []string{"leases"}, Verbs: []string{"create"}},
		{Group: "coordination.k8s.io", Resources: []string{"leases"}, Verbs: []string{"get", "update"}, Names: []string{lease}},
	}
	if args.DryRun {
		return all
	}
	all = append(all,
		workload.Permission{Group: "apps", Resources: []string{"deployments/scale"}, Verbs: []string{"update"}, Names: target},
		workload.Permission{Group: "", Resources: []string{"pods"}, Verbs: []string{"patch"}}, // annotations: which are to go first
		workload.Permission{Group: "", Resources: []string{"configmaps"}, Verbs: []string{"create"}},
		workload.Permission{Group: "", Resources: []string{"configmaps"}, Verbs: []string{"patch"}, Names: states},
		workload.Permission{Group: "", Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
	)
	if args.BridgeCeiling > 1 {
		all = append(all, workload.Permission{Group: "", Resources: []string{"pods/resize"}, Verbs: []string{"patch"}})
	}
	return all
}
