#!/bin/sh
# Checks tables and data by URL against a service that others wrote, on loopback, with faults between the two: see
# hosted.py. `hosted.sh s3` takes moto from PyPI, `hosted.sh azure` Azurite from npm, which needs node. What is fetched goes
# into $HOSTED_CHECK_DIR, outside of the project.
set -eu

service=$1
folder=${HOSTED_CHECK_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/piref-hosted}/$service
case $service in
s3) packages='moto[server]==5.2.5' modules='' ;;
azure) packages='azure-storage-blob==12.31.1' modules='azurite@3.35.0' ;;
*)
    echo "expected \`s3\` or \`azure\`, found \`$service\`" >&2
    exit 2
    ;;
esac

mkdir -p "$folder"
if [ "$(cat "$folder/packages" 2>/dev/null)" != "$packages $modules" ]; then
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet "$packages"
    [ -z "$modules" ] || npm install --silent --prefix "$folder" "$modules"
    printf '%s\n' "$packages $modules" >"$folder/packages"
fi
export AZURITE="$folder/node_modules/.bin/azurite-blob" PYTHONDONTWRITEBYTECODE=1
exec "$folder/venv/bin/python" "$(dirname "$0")/hosted.py" \
    --service "$service" --piref "${CARGO_TARGET_DIR:-target}/debug/piref"
