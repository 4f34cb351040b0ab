#!/usr/bin/env bash
# Replays TRACE against the stack's outputs into results/RUN.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

trace=${TRACE:-demo}
[ -f "$trace" ] || trace=$ROOT/loadtest/traces/$trace.txt
[ -f "$trace" ] || die "TRACE=${TRACE:-demo}: neither a file nor one of $(cd "$ROOT/loadtest/traces" && ls ./*.txt | sed 's#\./\(.*\)\.txt#\1#' | xargs)"

environment=$("$ROOT/hack/env.sh")
eval "$environment"
output() {
  pulumi --non-interactive stack output --stack "${STACK:-dev}" --cwd "$ROOT" "$1" 2>/dev/null ||
    die "stack ${STACK:-dev} has no output $1: run 'make up' first"
}
scaler=$(output scaler); dispatcher=$(output dispatcherUrl); prometheus=$(output prometheusUrl)

mkdir -p "$STATE/bin"
(cd "$ROOT/loadtest" && GOWORK=off go build -trimpath -buildvcs=false -o "$STATE/bin/loadtest" ./cmd/loadtest)
run=${RUN:-$(date +%Y%m%d-%H%M%S)-$scaler}
exec "$STATE/bin/loadtest" run --target "$dispatcher" --prometheus "$prometheus" --scaler "$scaler" \
  --trace "$trace" --scale "${SCALE:-1}" --speed "${SPEED:-1}" --arrivals "${ARRIVALS:-poisson}" --seed "${SEED:-1}" \
  --images "${IMAGES:-$ROOT/models/vehicles/samples}" --out "$ROOT/results/$run" ${LOADTEST_FLAGS:-}
