#!/usr/bin/env bash
# Prints the environment in which plain `pulumi` and `kubectl` see what the make
# targets see; the other scripts read it too, so that there is one place.
#
# Nothing of the person's own set-up is used unless it was named: the cluster is
# the local one or CONTEXT's, through a kubeconfig that holds only that one, and
# the state is a folder unless PULUMI_BACKEND_URL names a backend.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

context=${CONTEXT:-}
if [ -n "$context" ] && [ "$context" != headroom-local ]; then
  "$ROOT/hack/tools.sh" kubectl >&2
  kubeconfig=$STATE/kubeconfig-${context//[^A-Za-z0-9._-]/_}
  mkdir -p "$STATE"
  (umask 077; kubectl config view --minify --flatten --context="$context" >"$kubeconfig.part" 2>/dev/null) ||
    { rm -f "$kubeconfig.part"; die "CONTEXT=$context is not in your kubeconfig; it has: $(kubectl config get-contexts -o name 2>/dev/null | xargs)"; }
  kubectl --kubeconfig "$kubeconfig.part" config use-context "$context" >/dev/null
  mv "$kubeconfig.part" "$kubeconfig"
else
  context=headroom-local
  kubeconfig=$LOCAL_KUBECONFIG
fi

# The state of one cluster is never taken for that of another: the local one's
# lies in the cluster's own folder, so that it goes when the cluster goes and
# every checkout sees it; a named one's in a folder of its own.
if [ -n "${PULUMI_BACKEND_URL:-}" ]; then
  backend=$PULUMI_BACKEND_URL
elif [ "$context" = headroom-local ]; then
  folder=$(dirname "$LOCAL_KUBECONFIG")/pulumi
  [ ! -f "$LOCAL_KUBECONFIG" ] || mkdir -p "$folder"
  backend=file://$folder
else
  folder=$STATE/pulumi/${context//[^A-Za-z0-9._-]/_}
  mkdir -p "$folder"
  backend=file://$folder
fi

printf 'export PATH=%q:"$PATH"\n' "$STATE/bin"
printf 'export KUBECONFIG=%q\n' "$kubeconfig"
printf 'export PULUMI_BACKEND_URL=%q\n' "$backend"
printf 'export PULUMI_HOME=%q\n' "${PULUMI_HOME:-$STATE/pulumi-home}"
printf 'export PULUMI_SKIP_UPDATE_CHECK=true\n'
printf 'export GOWORK=off\n'
# With the commit in it, the program would be linked anew after each one.
printf 'export GOFLAGS=%q\n' "${GOFLAGS:+$GOFLAGS }-buildvcs=false"
# The dev stack keeps no secret but a Redis password inside the cluster; set a
# passphrase of your own where that is not enough.
[ -n "${PULUMI_CONFIG_PASSPHRASE_FILE:-}" ] || printf 'export PULUMI_CONFIG_PASSPHRASE=%q\n' "${PULUMI_CONFIG_PASSPHRASE:-}"
