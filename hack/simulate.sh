#!/usr/bin/env bash
# Plays scalers against a modelled service, the real HPA and KPA among them, and
# writes OUT (results/simulate).
#
# TRACE is one of loadtest/traces or a file. WORKLOADS=N plays so many random
# hours instead. POLICIES, SEED, SCALE and SPEED are simulate's flags; more of
# them go behind: hack/simulate.sh --cold-start 20s --no-tradeoff
set -euo pipefail
. "$(dirname "$0")/lib.sh"

source=()
if [ -n "${WORKLOADS:-}" ]; then
  source=(--workloads "$WORKLOADS")
else
  trace=$(trace_of demo)
  [ -f "$trace" ] || die "TRACE=$trace: a formula is for the load tester; a file or one of loadtest/traces is needed"
  source=(--trace "$trace" --scale "${SCALE:-1}" --speed "${SPEED:-1}")
fi
[ -z "${POLICIES:-}" ] || source+=(--policies "$POLICIES")

mkdir -p "$STATE/bin"
# The same flags as hack/test.sh has: others would compile Kubernetes a second time.
say "building upstream and simulate (the first time about 5 minutes on 2 cores)"
(cd "$ROOT/scaler/upstream" && GOWORK=off go build -trimpath -buildvcs=false -o "$STATE/bin/upstream" .)
(cd "$ROOT/scaler" && GOWORK=off go build -trimpath -buildvcs=false -o "$STATE/bin/simulate" ./cmd/simulate)
exec "$STATE/bin/simulate" "${source[@]}" --seed "${SEED:-1}" --out "${OUT:-$ROOT/results/simulate}" "$@"
