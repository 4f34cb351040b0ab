#!/usr/bin/env bash
# kubeconform and kube-score on Kubernetes manifests: hack/lint-manifests.sh
# FILE..., or without any on those of the committed stacks. EXCEPTIONS names a
# file like infra/golden/exceptions.txt, of what is let pass.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# The CustomResourceDefinitions that the stacks use, as their projects publish them.
gateway_api=sigs.k8s.io/gateway-api@v1.4.0
prometheus_operator=github.com/prometheus-operator/prometheus-operator@v0.85.0

# source_of MODULE@VERSION prints where the module's files are.
source_of() {
  (cd / && GOWORK=off go mod download -json "$1") | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p'
}

command -v manifestlint >/dev/null || "$ROOT/hack/tools.sh" lint
# The Kubernetes of the local cluster: its API server's OpenAPI document is part of its sources.
kubernetes=$(cd "$ROOT/hack/toolchain/cluster" && GOWORK=off go list -m -f '{{.Path}}@{{.Version}}' k8s.io/kubernetes)
sources=$(source_of "$kubernetes")
version=${kubernetes##*@}

exceptions=()
[ -z "${EXCEPTIONS:-}" ] || exceptions=(--exceptions "$EXCEPTIONS")
if [ $# -eq 0 ]; then
  set -- "$ROOT"/infra/golden/*.yaml
  exceptions=(--exceptions "$ROOT/infra/golden/exceptions.txt")
fi
manifestlint --openapi "$sources/api/openapi-spec/swagger.json" --kubernetes "${version%.*}" \
  --crds "$(source_of "$gateway_api")/config/crd/standard" \
  --crds "$(source_of "$prometheus_operator")/example/prometheus-operator-crd" \
  "${exceptions[@]}" "$@"
