#!/usr/bin/env bash
# Tests of demo-local.sh: a short run has a result and leaves nothing behind, nor
# does one that is interrupted or killed. It takes about a minute.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

folder=$ROOT/results/demo-local-test-$$
trap 'rm -rf "$folder"*' EXIT
log=$(mktemp)

fail() { cat "$log" >&2; die "demo-local: $*"; }
# left names the processes of a run that are there yet: each has an argument in the
# run's own folder, or one of its addresses.
left() { pgrep -af -- "$STATE/demo-local/|127\.0\.0\.1:(16380|15001|18000|18002|19090)|127\.8\.0\.[0-9]+:1[68]001" || true; }
# nothing_left waits up to so many seconds until there are none.
nothing_left() {
  local deadline=$((SECONDS + $1))
  while [ -n "$(left)" ]; do
    [ $SECONDS -lt $deadline ] || fail "these processes are left: $(left)"
    sleep 0.1
  done
}
# says waits until the run under way has said a text.
says() {
  local deadline=$((SECONDS + 120))
  until grep -q -- "$1" "$log"; do
    kill -0 "$pid" 2>/dev/null || fail "it has ended before it said: $1"
    [ $SECONDS -lt $deadline ] || fail "it has not said: $1"
    sleep 0.1
  done
}
# begin starts a run in the background. Its signals are not ignored, as a shell
# has it for what it starts there.
begin() {
  : >"$log"
  RUN=$(basename "$folder")-$1 TRACE=demo SCALE=1 SPEED=1 ARRIVALS=poisson SEED=1 IMAGES='' MODEL='' LOADTEST_FLAGS=$2 \
    setpriv --pdeathsig KILL env --default-signal=INT "$ROOT/hack/demo-local.sh" >"$log" 2>&1 &
  pid=$!
}

[ -z "$(left)" ] || die "a demo-local runs already: $(left)"

say "demo-local: a step up, to the end"
begin whole "--start 28s --length 16s --lag-bound 1h"
wait "$pid" || fail "exit code $?"
nothing_left 0
peak=$(sed -n 's/^.*"peak": *\([0-9.]*\).*/\1/p' "$folder-whole/summary.json" | sort -n | tail -1)
[ "${peak%.*}" -ge 2 ] || fail "at most $peak replicas, want 2 or more"
for file in report.html timeline.json autoscaler_summary.csv autoscaler_log.csv replica_count_plot.png; do
  [ -s "$folder-whole/$file" ] || fail "there is no $file"
done

say "demo-local: interrupted"
begin interrupted "--length 60s --lag-bound 1h"
says "requests "
kill -INT "$pid"
wait "$pid" && fail "exit code 0" || [ $? -eq 130 ] || fail "exit code $?, want 130"
nothing_left 0
grep -q '"interrupted": true' "$folder-interrupted/summary.json" || fail "the summary doesn't say that it was interrupted"

say "demo-local: killed"
begin killed "--length 60s"
says "requests "
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
nothing_left 5

say "demo-local: a part dies"
begin broken "--length 60s"
says "requests "
kill -KILL "$(pgrep -f -- "$STATE/demo-local/bin/devredis --listen 127.0.0.1:16380" | head -1)"
wait "$pid" && fail "exit code 0" || [ $? -eq 1 ] || fail "exit code $?, want 1"
grep -q 'redis has ended by itself' "$log" || fail "it doesn't say which part has died"
nothing_left 0
rm -f "$log"
say "demo-local: all passed"
