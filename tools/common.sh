# Sourced by every script in tools/: where things live, and how to speak.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$ROOT/build
TOOLS=$ROOT/tools

say() { printf '%s\n' "$*"; }
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# with_lock NAME COMMAND...: one at a time, for two ./dev side by side.
with_lock() {
    local name=$1
    shift
    mkdir -p "$BUILD/cache"
    (
        flock 9
        "$@"
    ) 9>"$BUILD/cache/$name.lock"
}

# Caches of package clients stay below build/ like everything else.
export PIP_CACHE_DIR=$BUILD/cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK=1
export npm_config_cache=$BUILD/cache/npm
export npm_config_update_notifier=false
