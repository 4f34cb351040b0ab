#!/usr/bin/env bash
# The tests that need a cluster, on the local one, in a stack and a namespace of
# their own: a stack that is up beside them is not touched.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# It needs no cluster, but the machine for itself.
timed "tests of the loop without a cluster" "$ROOT/hack/demo-local-test.sh"
timed "tools" "$ROOT/hack/tools.sh" pulumi
if [ -z "${CONTEXT:-}" ]; then
  if [ -e "$(dirname "$LOCAL_KUBECONFIG")" ]; then
    say "the local cluster is up, so the tests of its start and stop are left out"
  else
    timed "tests of the local cluster itself" "$ROOT/hack/cluster.sh" test
  fi
fi
[ -n "${CONTEXT:-}" ] || timed "local cluster" "$ROOT/hack/cluster.sh" up
timed "images" "$ROOT/hack/images.sh" build
"$ROOT/hack/images.sh" load
environment=$("$ROOT/hack/env.sh")
eval "$environment"
mkdir -p "$STATE/bin"
(cd "$ROOT/loadtest" && go build -trimpath -buildvcs=false -o "$STATE/bin/loadtest" ./cmd/loadtest)
if [ -z "${CONTEXT:-}" ]; then
  # On the local cluster only: their image is one that it always has.
  say "the scaler's own client of Kubernetes, on the cluster"
  (cd "$ROOT/scaler" && TEST_IMAGE=localhost/headroom/pause:1 go test -tags e2e -count=1 -timeout 10m -run E2E ./internal/kubescale)
fi
cd "$ROOT/infra/e2e"
# shellcheck disable=SC2086 # several flags
exec go test -tags e2e -count=1 -v -timeout 25m ${TEST_FLAGS:-} .
