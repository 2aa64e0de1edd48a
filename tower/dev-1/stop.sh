#!/bin/sh
# Stop dev-1; its state stays.
export SLIPFORM_HOME="${SLIPFORM_HOME:-/var/lib/slipform-dev-1}"
exec "$(dirname "$0")/../../build/slipform" down --tower dev-1 "$@"
