#!/usr/bin/env bash
# pulumi destroy.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$ROOT/hack/pulumi.sh" destroy --yes --skip-preview
