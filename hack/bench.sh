#!/usr/bin/env bash
# Measures each part beside its limit or its peer, in the same run, and writes
# results/bench.json.
#
# BENCH=modelserver|dispatcher|scaler|loadtest|all (or the first argument) picks the part. More
# arguments are flags of that part's measurement, for example
# `hack/bench.sh dispatcher --rounds 1 --stretch 1s`. PICTURE=file.jpg is
# preprocessed besides the pictures that are made up.
#
# What is measured has one half of the cores, the dispatcher one core, and who
# measures it the others, so that they don't take each other's time.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

part=${1:-${BENCH:-all}}
[ $# -eq 0 ] || shift
case $part in
  modelserver | dispatcher | scaler | loadtest) ;;
  all) [ $# -eq 0 ] || die "flags go with one part: hack/bench.sh modelserver|dispatcher|scaler|loadtest FLAGS" ;;
  *) die "BENCH=$part: it is modelserver, dispatcher, scaler, loadtest or all" ;;
esac

cores=$(nproc)
server=$((cores > 1 ? cores / 2 : 1))
first_client=$((cores > 1 ? server : 0))
second_core=$((cores > 1 ? 1 : 0))
out=$ROOT/results/bench.json
mkdir -p "$STATE/bin"

# build PROGRAM...: builds programs of apps.
build() {
  local tags
  tags=$(jpeg_tags)
  timed "building $*" bash -c "cd '$ROOT/apps' && GOWORK=off go build -tags '$tags' -trimpath -buildvcs=false -o '$STATE/bin/' $(printf './cmd/%s ' "$@")"
}

bench_modelserver() {
  "$ROOT/hack/ort.sh"
  build modelserver bench
  say "measuring the model server on core 0$( ((server > 1)) && echo " to $((server - 1))"), which takes about three minutes"
  taskset --cpu-list "$first_client-$((cores - 1))" "$STATE/bin/bench" modelserver \
    --program "$STATE/bin/modelserver" --ort-lib "$STATE/lib/libonnxruntime.so.1" \
    --model "$ROOT/models/vehicles" --pictures "$ROOT/models/vehicles/samples" --photo "${PICTURE:-}" \
    --server-cpus "0-$((server - 1))" --slots "$server" --out "$out" "$@"
}

bench_dispatcher() {
  "$ROOT/hack/apt.sh" redis-server
  build dispatcher bench
  timed "building asynqbench" bash -c "cd '$ROOT/hack/asynqbench' && GOWORK=off go build -trimpath -buildvcs=false -o '$STATE/bin/' ."
  say "measuring the dispatcher on core 0, which takes about four minutes"
  taskset --cpu-list "$second_core-$((cores - 1))" "$STATE/bin/bench" dispatcher \
    --program "$STATE/bin/dispatcher" --peers "$STATE/bin/asynqbench" --subject-cpus 0 --out "$out" "$@"
}

bench_scaler() {
  timed "building simulate" bash -c "cd '$ROOT/scaler' && GOWORK=off go build -trimpath -buildvcs=false -o '$STATE/bin/' ./cmd/simulate"
  say "measuring the simulator and the policy on core 0, which takes about half a minute"
  taskset --cpu-list 0 "$STATE/bin/simulate" bench --out "$out" "$@"
}

bench_loadtest() {
  timed "building the load tester's bench and vegetabench" bash -c "cd '$ROOT/loadtest' && GOWORK=off go build -trimpath -buildvcs=false -o '$STATE/bin/loadbench' ./cmd/bench &&
    cd '$ROOT/hack/vegetabench' && GOWORK=off go build -trimpath -buildvcs=false -o '$STATE/bin/' ."
  say "measuring the load tester on core $second_core, which takes about five minutes"
  "$STATE/bin/loadbench" run --vegeta "$STATE/bin/vegetabench" --picture "$ROOT/models/vehicles/samples/car.jpg" \
    --load-cpus "$second_core" --server-cpus 0 --out "$out" "$@"
}

for each in modelserver dispatcher scaler loadtest; do
  case $part in "$each" | all) "bench_$each" "$@" ;; esac
done
say "written to results/bench.json"
