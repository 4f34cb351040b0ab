#!/usr/bin/env bash
# Cluster, images, `pulumi up`: each step does nothing when it is up to date.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# A context that isn't there is said before minutes are spent on images.
"$ROOT/hack/env.sh" >/dev/null
[ -n "${CONTEXT:-}" ] || timed "local cluster" "$ROOT/hack/cluster.sh" up
timed "images" "$ROOT/hack/images.sh" build
"$ROOT/hack/images.sh" load
timed "pulumi up" "$ROOT/hack/pulumi.sh" up --yes --skip-preview
