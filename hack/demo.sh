#!/usr/bin/env bash
# From nothing to a result.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

start=$SECONDS
"$ROOT/hack/env.sh" >/dev/null
timed "tools" "$ROOT/hack/tools.sh" pulumi
"$ROOT/hack/up.sh"
timed "replay of ${TRACE:-demo}" "$ROOT/hack/loadtest.sh"
say "done in $((SECONDS - start)) s. The stack is still up: 'make down' removes it, 'make cluster-down' the cluster."
