#!/bin/sh
# Raise dev-1 on this machine, beside a dev-0 when there is one: its home is its own.
export SLIPFORM_HOME="${SLIPFORM_HOME:-/var/lib/slipform-dev-1}"
exec "$(dirname "$0")/../../build/slipform" up --tower dev-1 "$@"
