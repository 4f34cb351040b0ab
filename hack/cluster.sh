#!/usr/bin/env bash
# The local single-node Kubernetes: builds what it is made of, then hands over.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ -z "${CONTEXT:-}" ] || [ "$CONTEXT" = headroom-local ] ||
  die "CONTEXT=$CONTEXT names a cluster of yours: headroom starts and stops only its own"
[ "$(id -u)" = 0 ] || die "the local cluster needs root (network namespaces, mounts, iptables): run 'sudo make ${MAKECMDGOALS:-cluster}', or name a cluster of yours with CONTEXT=name"

if [ "${1:-}" = up ]; then
  "$ROOT/hack/apt.sh" containerd runc containernetworking-plugins etcd-server iptables iproute2
  "$ROOT/hack/tools.sh" cluster
else
  "$ROOT/hack/tools.sh" localcluster
fi
exec "$STATE/bin/localcluster" "$@"
