#!/usr/bin/env bash
# The local single-node Kubernetes: builds what it is made of, then hands over.
# `cluster.sh test` tests the tool itself; it needs a machine without a cluster.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ -z "${CONTEXT:-}" ] || [ "$CONTEXT" = headroom-local ] ||
  die "CONTEXT=$CONTEXT names a cluster of yours: headroom starts and stops only its own"
[ "$(id -u)" = 0 ] || die "the local cluster needs root (network namespaces, mounts, iptables): run 'sudo make ${MAKECMDGOALS:-cluster}', or name a cluster of yours with CONTEXT=name"

# What `down` needs is there where there is something to take down.
if [ "${1:-}" != down ]; then
  "$ROOT/hack/apt.sh" containerd runc containernetworking-plugins etcd-server iptables iproute2
  "$ROOT/hack/tools.sh" cluster
else
  "$ROOT/hack/tools.sh" localcluster
fi
if [ "${1:-}" = test ]; then
  cd "$ROOT/hack/localcluster"
  GOWORK=off exec go test -tags cluster -count=1 -v -timeout 10m ./internal/cluster
fi
exec "$STATE/bin/localcluster" "$@"
