#!/bin/bash
# Copies the appliance's own code and says what is baked in.
set -euo pipefail

STAGE=/run/slm-stage
HOME_DIR=/opt/slm-copilot
SERVICE_DIR=/etc/one-appliance/service.d

umask 0022
mkdir -p "${HOME_DIR}/appliance" "${SERVICE_DIR}"
cp -rT --no-preserve=all "${STAGE}/appliance" "${HOME_DIR}/appliance"
(cd "${STAGE}/appliance" && find . -type f -perm -u+x -print0) |
  (cd "${HOME_DIR}/appliance" && xargs -0 -r chmod 0755)
# It lies where its package would put it, not among the appliance's files.
rm -rf "${HOME_DIR}/appliance/standin"
install -m 0644 "${STAGE}/flavor.env" "${HOME_DIR}/flavor.env"
ln -sfn "${HOME_DIR}/appliance/appliance.sh" "${SERVICE_DIR}/appliance.sh"
