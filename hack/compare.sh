#!/usr/bin/env bash
# Replays TRACE against one scaler after another and compares them.
#
# SCALERS is a list of custom, custom-bridge (ready replicas get up to twice their
# CPU while others start) and hpaN (Kubernetes' HPA at N% of CPU); RUNS repeats it
# with the next seed. Each run starts from one warm replica and an empty queue.
# What is compared is set in a copy of the stack's settings; at the end, also
# after Ctrl-C, the stack is brought back to the settings themselves.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

scalers=${SCALERS:-custom,custom-bridge,hpa70,hpa90}
runs=${RUNS:-1}
seed=${SEED:-1}
stack=${STACK:-dev}
trace=$(trace_of workload)
WARM_UP=30 # seconds: longer than HPA's and the scaler's windows of CPU and of rates
SETTLE=120 # seconds that a settled start may take

# settings SCALER: the stack's keys and values that make it the one that scales.
settings() {
  case $1 in
    custom) echo scaler=custom bridgeCeiling=1 ;;
    custom-bridge) echo scaler=custom bridgeCeiling=2 ;;
    hpa*) echo scaler=hpa "hpaCpuPercent=${1#hpa}" ;;
  esac
}

IFS=, read -ra list <<<"$scalers"
[ "${#list[@]}" -gt 0 ] || die "SCALERS is empty: a list of custom, custom-bridge and hpaN, such as custom,hpa70,hpa90, is needed"
for scaler in "${list[@]}"; do
  case $scaler in
    custom | custom-bridge) ;;
    hpa[1-9] | hpa[1-9][0-9] | hpa100) ;;
    *) die "SCALERS=$scalers: '$scaler' is none of custom, custom-bridge and hpaN with N from 1 to 100" ;;
  esac
done
[[ $runs =~ ^[1-9][0-9]?$ ]] || die "RUNS=$runs: allowed are whole numbers from 1 to 99"
[[ $seed =~ ^-?[0-9]{1,15}$ ]] || die "SEED=$seed: allowed are whole numbers"

environment=$("$ROOT/hack/env.sh")
eval "$environment"
namespace=$(stack_output namespace); target=$(stack_output targetDeployment)
dispatcher=$(stack_output dispatcherUrl); prometheus=$(stack_output prometheusUrl)
on_cluster() { kubectl -n "$namespace" "$@"; }

folder=$ROOT/results/${RUN:-$(date +%Y%m%d-%H%M%S)-compare}
[ ! -e "$folder" ] || die "RUN=${RUN:-}: $folder is there already"
work=$(mktemp -d)
mkdir -p "$STATE/bin" "$folder"
(cd "$ROOT/loadtest" && GOWORK=off go build -trimpath -buildvcs=false -o "$STATE/bin/loadtest" ./cmd/loadtest)

# up SETTINGS...: the stack with these in place of its own.
# shellcheck disable=SC2120 # it is called through timed
up() {
  cp "$ROOT/Pulumi.$stack.yaml" "$work/Pulumi.yaml"
  local setting
  for setting in "$@"; do
    pulumi --non-interactive config set --stack "$stack" --cwd "$ROOT" --config-file "$work/Pulumi.yaml" "${setting%%=*}" "${setting#*=}"
  done
  quietly pulumi --non-interactive up --yes --skip-preview --stack "$stack" --cwd "$ROOT" --config-file "$work/Pulumi.yaml"
}
# quietly COMMAND...: its output only where it fails.
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; die "$1 failed"; }; }

finish() {
  local status=$?
  trap - EXIT INT TERM
  say "bringing the stack $stack back to its own settings"
  up || true
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# prom QUERY: the value of an instant query, empty where there is none.
prom() {
  curl -fsS --max-time 5 --get --data-urlencode "query=$1" "$prometheus/api/v1/query" | sed -n 's/.*"value":\[[^,]*,"\([^"]*\)"\].*/\1/p'
}
settled() {
  [ "$(on_cluster get deployment "$target" -o jsonpath='{.spec.replicas}/{.status.replicas}/{.status.readyReplicas}')" = 1/1/1 ] &&
    [ "$(prom 'max(dispatcher_queue_size)')" = 0 ] && [ "$(prom 'max(dispatcher_replicas{state="ready"})')" = 1 ]
}
# deciding SCALER: whether it has what it decides from.
deciding() {
  case $1 in
    hpa*) [ "$(on_cluster get hpa "$target" -o jsonpath='{.status.conditions[?(@.type=="ScalingActive")].status}')" = True ] ;;
    *) [ "$(prom 'sum(headroom_scaler_leader)')" = 1 ] && [ "$(prom 'max(headroom_scaler_untrusted_seconds and on(instance) headroom_scaler_leader == 1)')" = 0 ] ;;
  esac
}
# await WHAT TEST...: until it holds, at most SETTLE seconds.
await() {
  local what=$1 end=$((SECONDS + SETTLE)); shift
  until "$@"; do
    [ $SECONDS -lt $end ] || die "$what: not within $SETTLE s"
    sleep 1
  done
}

# start SCALER REPETITION: a settled start. Nobody scales while the last run's replicas
# go, and what the scaler learned in it goes too.
start() {
  timed "nobody scales, one replica" up scaler=none
  quietly on_cluster delete configmap headroom-scaler-state --ignore-not-found
  quietly on_cluster scale deployment "$target" --replicas 1
  await "one ready replica and an empty queue" settled
  # shellcheck disable=SC2046 # several settings
  timed "pulumi up with $(settings "$1")" up $(settings "$1")
  say "warm-up of $WARM_UP s"
  quietly "$STATE/bin/loadtest" run --target "$dispatcher" --trace "$work/warm-up.txt" --images "${IMAGES:-$ROOT/models/vehicles/samples}" --out "$work/warm-up-$1-$2" --lag-bound 1h
  await "$1 decides" deciding "$1"
  await "one ready replica and an empty queue" settled
}
printf '4 %.0s' $(seq $WARM_UP) >"$work/warm-up.txt"

total=$((runs * ${#list[@]})) n=0
for ((repetition = 1; repetition <= runs; repetition++)); do
  for scaler in "${list[@]}"; do
    n=$((n + 1))
    say "run $n of $total: $scaler, seed $((seed + repetition - 1))"
    start "$scaler" "$repetition"
    RUN=${folder##*/}/$scaler-$repetition SEED=$((seed + repetition - 1)) TRACE=$trace SCALER=$scaler \
      LOADTEST_FLAGS="--repetition $repetition ${LOADTEST_FLAGS:-}" "$ROOT/hack/loadtest.sh" ||
      [[ $? =~ ^(98|99)$ ]] || die "$scaler: the run failed" # an invalid run or a missed threshold is the comparison's to tell
  done
done
"$STATE/bin/loadtest" compare "$folder"/*-[0-9]* --out "$folder"
