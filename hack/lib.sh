# Shared by the scripts of this folder: where things lie, and how they speak.
# shellcheck shell=bash disable=SC2034
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STATE=$ROOT/.headroom
CACHE=${HEADROOM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/headroom}
export PATH=$STATE/bin:$PATH
# Where the local cluster's tool puts its kubeconfig.
LOCAL_KUBECONFIG=/var/lib/headroom-cluster/kubeconfig

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# timed LABEL COMMAND...: runs the command and says how long it took.
timed() {
  local label=$1 start=$SECONDS; shift
  say "$label"
  "$@"
  printf '    %s: %d s\n' "$label" $((SECONDS - start)) >&2
}

# trace_of DEFAULT: what TRACE names: a file, one of loadtest/traces, or a formula, which stays as it is.
trace_of() {
  local trace=${TRACE:-$1}
  case $trace in
    *:*=*) ;; # as `loadtest run --help` lists them
    *)
      [ -f "$trace" ] || trace=$ROOT/loadtest/traces/$trace.txt
      [ -f "$trace" ] || die "TRACE=${TRACE:-$1}: neither a file, nor a formula, nor one of $(cd "$ROOT/loadtest/traces" && ls ./*.txt | sed 's#\./\(.*\)\.txt#\1#' | xargs)"
      ;;
  esac
  printf '%s\n' "$trace"
}

# stack_output NAME: an output of the stack STACK, in the environment of env.sh.
stack_output() {
  pulumi --non-interactive stack output --stack "${STACK:-dev}" --cwd "$ROOT" "$1" 2>/dev/null ||
    die "stack ${STACK:-dev} has no output $1: run 'make up' first"
}

# digest FILE|DIR...: one hash over names and contents, the same in any checkout.
digest() {
  local path
  for path in "$@"; do
    if [ -d "$path" ]; then
      (cd "$path" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
    else
      sha256sum <"$path"
    fi
  done | sha256sum | cut -c1-16
}

# jpeg_tags prints the build tag of programs that decode JPEG with
# libjpeg-turbo, after installing that where it can; nothing where it can't.
jpeg_tags() {
  if ! has_libjpeg && [ "$EUID" -eq 0 ] && command -v apt-get >/dev/null; then
    "$ROOT/hack/apt.sh" libjpeg62-turbo-dev >&2
  fi
  if has_libjpeg; then
    echo libjpeg
  else
    say "libjpeg-turbo's header or static library is missing (Debian: libjpeg62-turbo-dev): JPEG will be decoded in Go, which is slower"
  fi
}
has_libjpeg() {
  printf '%s\n' '#include <stdio.h>' '#include <jpeglib.h>' 'int main(void) { struct jpeg_decompress_struct d; jpeg_create_decompress(&d); return 0; }' |
    cc -x c - -o /dev/null -l:libjpeg.a 2>/dev/null
}
