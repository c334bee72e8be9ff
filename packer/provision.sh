#!/bin/bash
# What both templates run in the guest: the flavor's provisioning scripts from the staging disk, in their order.
set -euo pipefail

readonly stage=/run/slm-stage

mkdir -p "$stage"
mount -o ro /dev/disk/by-label/CIDATA "$stage"
for script in "$stage"/provision/[0-9]*.sh; do
  echo "provision: ${script##*/}"
  bash "$script"
done
