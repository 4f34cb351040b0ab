#!/usr/bin/env bash
# No module of the workspace imports another, and only infra reaches Pulumi:
# its dependencies must never end up in a runtime image.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
for module in apps infra loadtest scaler; do
  # Test files count too, and so does every build tag in use.
  packages=$(cd "$module" && GOWORK=off go list -tags e2e,libjpeg -test -deps ./...)
  others=$(grep -E '^headroom\.dev/' <<<"$packages" | grep -vE "^headroom\.dev/$module([/ .]|\$)" | sort -u || true)
  if [ -n "$others" ]; then
    echo "check-imports: module $module imports another module:" >&2
    sed 's/^/  /' <<<"$others" >&2
    status=1
  fi
  if [ "$module" != infra ] && grep -qE '^github\.com/pulumi/' <<<"$packages"; then
    echo "check-imports: module $module reaches Pulumi; only infra may" >&2
    status=1
  fi
done

# One package owns each technology.
owner() { # module, import path, the packages (relative to the module) that may import it
  local module=$1 import=$2 allowed=$3 line
  while read -r line; do
    [ -z "$line" ] && continue
    echo "check-imports: $line imports $import; only $allowed may" >&2
    status=1
  done < <(cd "$module" && GOWORK=off go list -tags libjpeg -f '{{$p := .ImportPath}}{{range .Imports}}{{$p}} {{.}}{{"\n"}}{{end}}' ./... |
    awk -v i="$import" '$2 == i || index($2, i "/") == 1 {print $1}' | sort -u |
    grep -vE "^headroom\.dev/$module/($allowed)\$" || true)
}
owner apps github.com/yalue/onnxruntime_go 'internal/onnx'
owner apps github.com/redis/go-redis 'internal/(redisqueue|dispatchtest)'
owner apps google.golang.org/grpc 'internal/(oipgrpc(/inferencepb)?|modelapi|serve)'
owner apps go.opentelemetry.io/otel/sdk 'internal/tracing'
owner apps k8s.io/client-go 'internal/endpoints'
owner apps C 'internal/libjpeg'
owner scaler k8s.io/client-go 'internal/kubescale'
owner scaler github.com/prometheus/client_golang/api 'internal/promsource'

[ $status -eq 0 ] && echo "check-imports: ok"
exit $status
