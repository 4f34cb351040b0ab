#!/usr/bin/env bash
# Formatting, linters, tidy modules, manifests, shell scripts.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

"$ROOT/hack/tools.sh" lint
command -v shellcheck >/dev/null || "$ROOT/hack/apt.sh" shellcheck

status=0
unformatted=$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l)
if [ -n "$unformatted" ]; then
  echo "gofmt would change (make fmt):" >&2; sed 's/^/  /' <<<"$unformatted" >&2; status=1
fi
for module in apps infra loadtest scaler scaler/upstream hack/localcluster hack/asynqbench hack/vegetabench hack/manifestlint; do
  say "lint: $module"
  (cd "$module" && GOWORK=off go mod tidy -diff) || { echo "$module/go.mod is not tidy" >&2; status=1; }
  (cd "$module" && GOWORK=off golangci-lint run --build-tags e2e,libjpeg ./...) || status=1
done
say "lint: manifests"
hack/lint-manifests.sh || status=1
say "lint: shell scripts"
git ls-files -co --exclude-standard '*.sh' .ci/run | xargs shellcheck --external-sources --source-path=SCRIPTDIR --severity=warning || status=1
exit $status
