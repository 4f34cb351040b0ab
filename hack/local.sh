#!/usr/bin/env bash
# Dispatcher and model server on this machine, no cluster: 5001 and 6001.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

model=$ROOT/models/${MODEL:-vehicles}
[ -f "$model/model.yaml" ] || die "MODEL=${MODEL:-vehicles}: there is no models/${MODEL:-vehicles}/model.yaml"
"$ROOT/hack/ort.sh"
tags=$(jpeg_tags)
mkdir -p "$STATE/bin"
timed "building" bash -c "cd '$ROOT/apps' && GOWORK=off go build -tags '$tags' -trimpath -buildvcs=false -o '$STATE/bin/' ./cmd/modelserver ./cmd/dispatcher ./cmd/devredis"

pids=()
trap 'trap - EXIT; kill "${pids[@]}" 2>/dev/null || true; wait' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$STATE/bin/devredis" --listen 127.0.0.1:16379 & pids+=($!)
"$STATE/bin/modelserver" --model "$model" --ort-lib "$STATE/lib/libonnxruntime.so.1" \
  --listen 127.0.0.1:6001 --grpc-listen 127.0.0.1:9000 --metrics-listen 127.0.0.1:8001 & pids+=($!)
"$STATE/bin/dispatcher" --redis redis://127.0.0.1:16379/0 --backends http://127.0.0.1:6001 \
  --listen 127.0.0.1:5001 --metrics-listen 127.0.0.1:8000 & pids+=($!)

# Ready is when the dispatcher knows that the model server is.
ready() { curl -fsS --max-time 1 http://127.0.0.1:8000/metrics 2>/dev/null | grep -q '^dispatcher_replicas{state="ready"} 1$'; }
for ((i = 0; i < 300; i++)); do
  kill -0 "${pids[@]}" 2>/dev/null || break
  if ready; then
    say "ready; in another terminal:  curl -F image=@models/vehicles/samples/fire-engine.jpg http://127.0.0.1:5001/query"
    say "Ctrl-C ends it"
    break
  fi
  sleep 0.1
done
# The first process to end ends them all, with its status.
wait -n "${pids[@]}"
