#!/bin/bash
# Runs the appliance's install stage.
set -euo pipefail

/etc/one-appliance/service install
status=$(</etc/one-appliance/status)
if [[ ${status} != install_success ]]; then
  echo "the appliance's install stage ended with status '${status}'" >&2
  exit 1
fi
