#!/usr/bin/env bash
# Puts a Prometheus at .headroom/bin where none is installed: Debian's, unpacked
# into the cache, which needs no root.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

if command -v prometheus >/dev/null; then exit 0; fi
command -v apt-get >/dev/null || die "prometheus is missing: install version 2.42 or later (prometheus.io/download) so that it is on PATH"
cached=$CACHE/prometheus/prometheus
if [ ! -x "$cached" ]; then
  say "fetching Debian's prometheus"
  work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
  fetch() { (cd "$work" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download prometheus >log 2>&1); }
  fetch_anew() { [ "$EUID" -eq 0 ] && apt-get -qq update >/dev/null && fetch; }
  if ! fetch && ! fetch_anew; then
    cat "$work/log" >&2
    die "Debian's package prometheus can't be fetched; as root: apt-get update"
  fi
  dpkg-deb --extract "$work"/prometheus_*.deb "$work/root"
  mkdir -p "$(dirname "$cached")"
  mv "$work/root/usr/bin/prometheus" "$cached.$$"
  mv "$cached.$$" "$cached"
fi
mkdir -p "$STATE/bin"
ln -sfn "$cached" "$STATE/bin/prometheus"
