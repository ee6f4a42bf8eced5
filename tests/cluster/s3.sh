#!/bin/sh
# Checks tables and data under `s3://` against a real server of the protocol (moto, from PyPI) on loopback, with faults
# between the two: see s3.py. The server goes into a virtual environment in $S3_CHECK_DIR, outside of the project.
set -eu

folder=${S3_CHECK_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/piref-s3}
packages='moto[server]==5.2.5'

mkdir -p "$folder"
if [ "$(cat "$folder/packages" 2>/dev/null)" != "$packages" ]; then
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet "$packages"
    printf '%s\n' "$packages" >"$folder/packages"
fi
exec "$folder/venv/bin/python" "$(dirname "$0")/s3.py" --piref "${CARGO_TARGET_DIR:-target}/debug/piref" "$@"
