#!/usr/bin/env bash
# Every module's tests, against real parts; what is missing is installed.
# TEST_FLAGS adds flags to `go test`, for example TEST_FLAGS='-race -count=1'.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

"$ROOT/hack/apt.sh" redis-server prometheus libjpeg62-turbo-dev chromium
"$ROOT/hack/ort.sh"
export ORT_LIB=$STATE/lib/libonnxruntime.so.1

# The real ImageNet model is tested where it is: fetched, or in MODEL_MIRROR.
if [ -n "${MODEL_MIRROR:-}" ] && [ ! -f "$ROOT/models/squeezenet-imagenet/model.yaml" ]; then
  "$ROOT/hack/models.sh" squeezenet-imagenet
fi
if [ -f "$ROOT/models/squeezenet-imagenet/model.yaml" ]; then
  export HEADROOM_IMAGENET_MODEL_DIR=$ROOT/models/squeezenet-imagenet
fi

failed=()
# The autoscalers that ours is compared with. The same flags throughout: others
# would compile Kubernetes a second time.
say "go build: scaler/upstream (the first time about 5 minutes on 2 cores)"
mkdir -p "$STATE/bin"
export UPSTREAM_BIN=$STATE/bin/upstream
(cd "$ROOT/scaler/upstream" && GOWORK=off go build -trimpath -buildvcs=false -o "$UPSTREAM_BIN" .)
say "go test: scaler/upstream"
# shellcheck disable=SC2086 # several flags
(cd "$ROOT/scaler/upstream" && GOWORK=off go test -trimpath ${TEST_FLAGS:-} ./...) || failed+=("scaler/upstream")
for module in apps infra loadtest scaler hack/localcluster hack/asynqbench hack/vegetabench hack/manifestlint; do
  say "go test: $module"
  # shellcheck disable=SC2046,SC2086 # several flags and packages
  (cd "$ROOT/$module" && GOWORK=off go test -tags libjpeg ${TEST_FLAGS:-} $(GOWORK=off go list ./... | grep -vE '/(faulttest|cmd/modelserver|promsource|cmd/scaler|loadtest/internal/fire|infra/internal/stack)$')) || failed+=("$module")
done
# These watch a real Prometheus scrape every second: nothing else may take its time.
say "go test: scaler with Prometheus"
# shellcheck disable=SC2086 # several flags
(cd "$ROOT/scaler" && GOWORK=off go test -p 1 ${TEST_FLAGS:-} ./internal/promsource ./cmd/scaler) || failed+=("scaler with Prometheus")
# These have sentinels judge by seconds whether a Redis is there: nothing else may take its time.
say "go test: infra's stack with Redis and Prometheus"
# shellcheck disable=SC2086 # several flags
(cd "$ROOT/infra" && GOWORK=off go test ${TEST_FLAGS:-} ./internal/stack) || failed+=("infra's stack")
# These hold the load tester to milliseconds: nothing else may take its time.
say "go test: loadtest's firing"
# shellcheck disable=SC2086 # several flags
(cd "$ROOT/loadtest" && GOWORK=off go test ${TEST_FLAGS:-} ./internal/fire) || failed+=("loadtest's firing")
# These hold dispatcher and model server to milliseconds: nothing else may take their time.
say "go test: apps with faults and abuse"
# shellcheck disable=SC2086 # several flags
(cd "$ROOT/apps" && GOWORK=off go test -tags libjpeg -p 1 ${TEST_FLAGS:-} ./internal/faulttest ./cmd/modelserver) || failed+=("apps with faults and abuse")
# What decodes pictures has a second build, for machines without libjpeg-turbo.
say "go test: apps without libjpeg-turbo"
# shellcheck disable=SC2086 # several flags
(cd "$ROOT/apps" && GOWORK=off go test -p 1 ${TEST_FLAGS:-} ./internal/imaging ./internal/model ./cmd/modelserver) || failed+=("apps without libjpeg-turbo")
[ ${#failed[@]} -eq 0 ] || die "tests failed in: ${failed[*]}"
say "all tests passed"
