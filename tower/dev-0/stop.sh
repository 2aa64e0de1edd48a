#!/bin/sh
# Stop dev-0; its state stays.
exec "$(dirname "$0")/../../build/slipform" down "$@"
