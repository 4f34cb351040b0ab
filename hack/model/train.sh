#!/usr/bin/env bash
# Trains models/vehicles anew: installs what is missing, draws the pictures,
# trains, measures, exports. Arguments go to train.py (train.sh --help).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib.sh"

"$ROOT/hack/apt.sh" python3-torch python3-numpy python3-pil fonts-noto-color-emoji

# Spinning threads would slow each other down on a machine that does other things too.
export OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE=1
# Debian's own Python: it is the one that Debian's torch belongs to.
exec nice -n 10 /usr/bin/python3 "$here/train.py" --out "$ROOT/models/vehicles" "$@"
