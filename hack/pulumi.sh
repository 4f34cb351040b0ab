#!/usr/bin/env bash
# pulumi, on the stack STACK, in the environment of env.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$ROOT/hack/tools.sh" pulumi
environment=$("$ROOT/hack/env.sh")
eval "$environment"
cd "$ROOT"
[ -f "$KUBECONFIG" ] || die "the local cluster is not running: run 'make cluster' first, or name a cluster of yours with CONTEXT=name"
export PULUMI_STACK=${STACK:-dev}
pulumi stack select "$PULUMI_STACK" >/dev/null 2>&1 || pulumi stack init "$PULUMI_STACK" >/dev/null
exec pulumi --non-interactive "$@"
