#!/bin/bash
# Installs OpenNebula's contextualization package and one-apps' runner of appliances, at the paths that both expect.
set -euo pipefail

STAGE=/run/slm-stage/artifacts
HOME_DIR=/etc/one-appliance
HOOKS_DIR=/etc/one-context.d
UNITS=(one-context-local.service one-context-online.service one-context.service)

export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C.UTF-8

# It conflicts with cloud-init, which is gone by now, and removes every network setting from the disk. The network this
# machine is provisioned through keeps running on what is in memory; the finished image is given one by its context.
_install_package() {
  apt-get -q -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 --no-install-recommends \
    install "${STAGE}/one-context/one-context.deb"
  if dpkg-query --show --showformat='${db:Status-Abbrev}' cloud-init 2>/dev/null | grep -q '^i'; then
    echo "Error: cloud-init is still there and would configure the machine beside one-context" >&2
    return 1
  fi
}

# Packages may start things again, and ask the distribution itself for updates.
_end_installing() {
  rm -f /usr/sbin/policy-rc.d
  # Users of services whose start was forbidden were not made either: without systemd-network there is no network.
  systemd-sysusers
  if [[ -d /root/apt-sources ]]; then
    cp -a /root/apt-sources/. /etc/apt/
    rm -rf /root/apt-sources
  fi
}

# The modes matter: a hook that is not executable is skipped with a line in the journal, and the appliance never starts.
_install_service() {
  install -d -m 0750 "${HOME_DIR}" "${HOME_DIR}/lib" "${HOME_DIR}/service.d"
  install -d -m 0755 /opt/one-appliance
  install -m 0755 "${STAGE}/one-apps/service" "${HOME_DIR}/service"
  install -m 0644 -t "${HOME_DIR}/lib" "${STAGE}"/one-apps/lib/*.sh
  install -m 0755 -t "${HOOKS_DIR}" "${STAGE}"/one-apps/hooks/net-*
}

_check() {
  local unit hook
  for unit in "${UNITS[@]}"; do
    systemctl --quiet is-enabled "${unit}" || systemctl --quiet enable "${unit}"
  done
  for hook in net-90-service-appliance net-99-report-ready; do
    if [[ ! -x ${HOOKS_DIR}/${hook} ]]; then
      echo "Error: ${HOOKS_DIR}/${hook} is not there or not executable" >&2
      return 1
    fi
  done
  id -u systemd-network sshd >/dev/null
}

_main() {
  umask 0022
  _install_package
  _end_installing
  _install_service
  _check
}

_main
