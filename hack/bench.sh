#!/usr/bin/env bash
# Measures each part beside its limit or its peer, in the same run, and writes
# results/bench.json. PICTURE=file.jpg is preprocessed besides the pictures that
# are made up.
#
# The server has one half of the cores and who measures it the other, so that
# they don't take each other's time.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cores=$(nproc)
server=$((cores > 1 ? cores / 2 : 1))
first_client=$((cores > 1 ? server : 0))
"$ROOT/hack/ort.sh"
tags=$(jpeg_tags)
mkdir -p "$STATE/bin"
timed "building" bash -c "cd '$ROOT/apps' && GOWORK=off go build -tags '$tags' -trimpath -buildvcs=false -o '$STATE/bin/' ./cmd/modelserver ./cmd/bench"
say "measuring the model server on core 0$( ((server > 1)) && echo " to $((server - 1))"), which takes about three minutes"
taskset --cpu-list "$first_client-$((cores - 1))" "$STATE/bin/bench" modelserver \
  --program "$STATE/bin/modelserver" --ort-lib "$STATE/lib/libonnxruntime.so.1" \
  --model "$ROOT/models/vehicles" --pictures "$ROOT/models/vehicles/samples" --photo "${PICTURE:-}" \
  --server-cpus "0-$((server - 1))" --slots "$server" --out "$ROOT/results/bench.json"
say "written to results/bench.json"
