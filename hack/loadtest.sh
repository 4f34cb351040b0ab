#!/usr/bin/env bash
# Replays TRACE against the stack's outputs into results/RUN.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

trace=$(trace_of demo)
environment=$("$ROOT/hack/env.sh")
eval "$environment"
scaler=$(stack_output scaler); dispatcher=$(stack_output dispatcherUrl); prometheus=$(stack_output prometheusUrl)

mkdir -p "$STATE/bin"
(cd "$ROOT/loadtest" && GOWORK=off go build -trimpath -buildvcs=false -o "$STATE/bin/loadtest" ./cmd/loadtest)
run=${RUN:-$(date +%Y%m%d-%H%M%S)-$scaler}
more=()
if [ "$scaler" = hpa ]; then
  # What Kubernetes' HPA says of itself is in no metric: it is written down as it changes.
  namespace=$(stack_output namespace); target=$(stack_output targetDeployment)
  log=$(mktemp)
  set -m # so that the pipe can be ended as one
  kubectl -n "$namespace" get hpa "$target" --watch \
    -o jsonpath='{.status.currentReplicas}/{.status.desiredReplicas}/{.status.currentMetrics[0].resource.current.averageUtilization}{"\n"}' 2>/dev/null |
    while :; do
      # What did not change in five seconds still is so: said again, unless the watch has ended.
      IFS=/ read -r -t 5 current desired cpu || [ $? -gt 128 ] || break
      echo "$EPOCHREALTIME ${current:--} ${desired:--} ${cpu:--}"
    done >"$log" &
  set +m
  watcher=$!
  trap 'kill -- "-$watcher" 2>/dev/null || true; rm -f "$log"' EXIT
  more=(--hpa-log "$log")
fi
# shellcheck disable=SC2086 # several flags
"$STATE/bin/loadtest" run --target "$dispatcher" --prometheus "$prometheus" --scaler "${SCALER:-$scaler}" \
  --trace "$trace" --scale "${SCALE:-1}" --speed "${SPEED:-1}" --arrivals "${ARRIVALS:-poisson}" --seed "${SEED:-1}" \
  --images "${IMAGES:-$ROOT/models/vehicles/samples}" --out "$ROOT/results/$run" "${more[@]}" ${LOADTEST_FLAGS:-}
