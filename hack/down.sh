#!/usr/bin/env bash
# pulumi destroy, and the stack's state with it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$ROOT/hack/pulumi.sh" destroy --yes --skip-preview
