#!/usr/bin/env bash
# The whole loop on this machine, with no cluster and no root: the real dispatcher,
# scaler, Prometheus and load tester, and model servers that the scaler starts and
# ends as processes. Nothing of it is left at the end, however that comes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

start=$SECONDS
model=$ROOT/models/${MODEL:-vehicles}
[ -f "$model/model.yaml" ] || die "MODEL=${MODEL:-vehicles}: there is no models/${MODEL:-vehicles}/model.yaml"
trace=$(trace_of demo)
run=${RUN:-$(date +%Y%m%d-%H%M%S)-local}
# Others than `make local` has, so that both can run. A model server has an address
# of its own, as a pod has.
redis=127.0.0.1:16380 dispatcher=127.0.0.1:15001 dispatcher_metrics=127.0.0.1:18000
scaler=127.0.0.1:18002 prometheus=127.0.0.1:19090
network=127.8.0.0/24 port=16001 metrics_port=18001
# As the stack has it (Pulumi.dev.yaml).
cpu=0.15

for part in redis dispatcher dispatcher_metrics scaler prometheus; do
  if (exec 3<>"/dev/tcp/${!part%:*}/${!part##*:}") 2>/dev/null; then
    die "${!part} is in use, and $part needs it: does another 'make demo-local' run? (ss -ltnp 'sport = ${!part##*:}' tells)"
  fi
done

timed "ONNX Runtime and Prometheus" bash -c "'$ROOT/hack/ort.sh' && '$ROOT/hack/prometheus.sh'"
tags=$(jpeg_tags)
bin=$STATE/demo-local/bin
mkdir -p "$bin"
# Without Kubernetes' client and msgpack, which nothing here needs and
# which take long to compile.
build() { (cd "$ROOT/$1" && shift && GOWORK=off go build -trimpath -buildvcs=false -o "$bin/" "$@"); }
timed "building dispatcher and model server" build apps -tags "nokubernetes,nomsgpack${tags:+,$tags}" ./cmd/modelserver ./cmd/dispatcher ./cmd/devredis
timed "building the scaler" build scaler -tags nokubernetes ./cmd/scaler
timed "building the load tester" build loadtest ./cmd/loadtest

# What a run writes but for its results; kept until the next one, to look into.
work=$STATE/demo-local/run
rm -rf "$work"
mkdir -p "$work/prometheus" "$work/replicas"
cat >"$work/scaler.yaml" <<EOF
processes:
  command:
    - $bin/modelserver
    - --model=$model
    - --ort-lib=$STATE/lib/libonnxruntime.so.1
    - --listen=\$address
    - --metrics-listen=\$metrics
    - --grpc-listen=
    - --cpu-max=\$cpuMax
    - --drain-delay=500ms
  network: $network
  port: $port
  metricsPort: $metrics_port
  cpu: $cpu
  folder: $work/replicas
prometheus: {url: "http://$prometheus"}
listen: $scaler
EOF
cat >"$work/prometheus.yml" <<EOF
global: {scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s}
scrape_configs:
  - job_name: dispatcher
    static_configs: [{targets: ["$dispatcher_metrics"]}]
  - job_name: scaler
    static_configs: [{targets: ["$scaler"]}]
  - job_name: model-server
    file_sd_configs: [{files: ["$work/replicas/replicas.json"]}]
EOF

# Each part runs in a session of its own, so that Ctrl-C is for this script alone,
# which ends them in order; and each is killed when this script is.
declare -A pids=()
launch() { # NAME COMMAND...
  local name=$1; shift
  setsid setpriv --pdeathsig KILL "$@" >"$work/$name.log" 2>&1 &
  pids[$name]=$!
}
# finish NAME...: asks the parts to end, and kills what has not within 10 s.
finish() {
  local name all=() i
  for name; do
    [ -n "${pids[$name]:-}" ] && all+=("${pids[$name]}")
    unset "pids[$name]"
  done
  [ ${#all[@]} -gt 0 ] || return 0
  kill -TERM "${all[@]}" 2>/dev/null || true
  for ((i = 0; i < 100; i++)); do
    kill -0 "${all[@]}" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "${all[@]}" 2>/dev/null || true
  wait "${all[@]}" 2>/dev/null || true
}
end() {
  trap - EXIT
  trap '' INT TERM HUP # it ends already
  finish loadtest
  # From the caller's side on: who still works for another ends later.
  finish dispatcher
  finish scaler redis prometheus
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

say "starting"
began=$SECONDS
launch redis "$bin/devredis" --listen "$redis"
launch dispatcher "$bin/dispatcher" --redis "redis://$redis/0" --backends-file "$work/replicas/replicas.json" \
  --listen "$dispatcher" --metrics-listen "$dispatcher_metrics"
launch prometheus "$(command -v prometheus)" --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/prometheus" \
  --web.listen-address="$prometheus" --log.level=warn
launch scaler "$bin/scaler" --config "$work/scaler.yaml"

# ended says which part has ended by itself, if any has.
ended() {
  local name
  for name in redis dispatcher prometheus scaler; do
    kill -0 "${pids[$name]}" 2>/dev/null || { echo "$name"; return; }
  done
  return 1
}
# broken ends it all with the last words of the part that has ended.
broken() {
  tail -n 5 "$work/$1.log" >&2
  die "$1 has ended by itself (full log: $work/$1.log)"
}
ready() {
  curl -fsS --max-time 1 "http://$dispatcher_metrics/metrics" 2>/dev/null | grep -q '^dispatcher_replicas{state="ready"} 1$' &&
    curl -fsS --max-time 1 "http://$prometheus/-/ready" >/dev/null 2>&1
}
while :; do
  if name=$(ended); then broken "$name"; fi
  if ready; then break; fi
  [ $((SECONDS - began)) -lt 60 ] || die "no model server was ready within a minute (logs: $work)"
  sleep 0.1
done
printf '    ready: %d s; the scaler explains itself at http://%s\n' $((SECONDS - began)) "$scaler" >&2

# In the background, so that a signal is taken at once; its output is the terminal.
began=$SECONDS
say "replay of ${TRACE:-demo}"
# shellcheck disable=SC2086 # several flags
setsid setpriv --pdeathsig KILL "$bin/loadtest" run --target "http://$dispatcher" --prometheus "http://$prometheus" --scaler custom-local \
  --trace "$trace" --scale "${SCALE:-1}" --speed "${SPEED:-1}" --arrivals "${ARRIVALS:-poisson}" --seed "${SEED:-1}" \
  --images "${IMAGES:-$ROOT/models/vehicles/samples}" --out "$ROOT/results/$run" ${LOADTEST_FLAGS:-} &
pids[loadtest]=$!
# Ctrl-C: the load tester reports what was done, and then all ends. Once more: at once.
trap 'trap "exit 130" INT; kill -INT "${pids[loadtest]}" 2>/dev/null || true; interrupted=130' INT
interrupted=0 status=0
while :; do
  wait -n -p which "${pids[@]}" && status=0 || status=$?
  # An interrupted wait has no process.
  if [ "${which:-}" = "${pids[loadtest]}" ]; then break; fi
  if name=$(ended); then broken "$name"; fi
done
unset 'pids[loadtest]'
printf '    replay of %s: %d s\n' "${TRACE:-demo}" $((SECONDS - began)) >&2
end
say "done in $((SECONDS - start)) s; no process of it is left"
[ "$interrupted" -eq 0 ] || exit "$interrupted"
exit "$status"
