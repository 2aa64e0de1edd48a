#!/bin/sh
# Raise dev-0 on this machine: installer, then prod-bootstrap over bootstrap.jsonl. `make up` does this and deploys hello.
exec "$(dirname "$0")/../../build/slipform" up "$@"
