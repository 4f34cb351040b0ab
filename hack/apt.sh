#!/usr/bin/env bash
# Installs the Debian packages given that are missing, without starting the
# services they bring: the tests and the local cluster start their own.
set -euo pipefail

die() {
  printf 'apt: %s\n' "$*" >&2
  exit 1
}

[[ $# -gt 0 ]] || {
  echo "usage: hack/apt.sh PACKAGE..." >&2
  exit 2
}

command -v dpkg-query apt-get >/dev/null ||
  die "this is not Debian or Ubuntu: install what these packages hold by hand: $*"

missing=()
for package; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0
[[ $EUID -eq 0 ]] || die "not root: run: sudo apt-get install --no-install-recommends ${missing[*]}"

# policy-rc.d is what maintainer scripts ask before they start a service; one
# that is there already is the machine's own decision and stays.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy && ! -L $policy ]]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 0755 "$policy"
fi

log=$(mktemp)
run() {
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null
}
install() { run install -y --no-install-recommends "${missing[@]}"; }

started=$SECONDS
printf 'apt: installing %s\n' "${missing[*]}"
# The package lists are fetched only where the ones at hand are too old for it.
if ! install && ! { run update && install; }; then
  tail -n 15 "$log" >&2
  die "installing ${missing[*]} failed (full log: $log)"
fi
rm -f "$log"
printf 'apt: installed in %d s\n' $((SECONDS - started))
