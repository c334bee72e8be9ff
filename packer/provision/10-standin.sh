#!/bin/bash
# Installs the stand-ins for one-context and one-apps' service.sh. An image built where those packages can be
# had leaves this script out.
set -euo pipefail

STAGE=/run/slm-stage

_copy_tree() {
  local from=$1 to=$2
  mkdir -p "${to}"
  # The ISO carries the modes of somebody's checkout; only the executable bit counts.
  cp -rT --no-preserve=all "${from}" "${to}"
  (cd "${from}" && find . -type f -perm -u+x -print0) | (cd "${to}" && xargs -0 -r chmod 0755)
}

umask 0022
_copy_tree "${STAGE}/appliance/standin/one-context" /
_copy_tree "${STAGE}/appliance/standin/one-appliance" /etc/one-appliance
chmod 0750 /etc/one-appliance
systemctl --no-reload enable one-context-local.service one-context.service
