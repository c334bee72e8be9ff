#!/bin/bash
# Turns a cloud image, as its distribution publishes it, into what the appliance stands on: packages, units, boot
# options. What exactly is data: packer/base/<base>.yaml, which comes as base.env.
set -euo pipefail

STAGE=/run/slm-stage
# shellcheck source=/dev/null
source "${STAGE}/base.env"

export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C.UTF-8
APT=(apt-get -q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 -o Dpkg::Options::=--force-confold
  -o Dpkg::Use-Pty=0 --no-install-recommends)

_wait_for_cloud_init() {
  # 2: done, with something to complain about; what it was told to do shows in our being here.
  cloud-init status --wait >/dev/null || [[ $? == 2 ]]
}

# The image's own upgrades would hold apt's lock, and restart things in the middle of ours.
_stop_upgrades() {
  systemctl stop apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service \
    unattended-upgrades.service snapd.service snapd.socket 2>/dev/null || true
}

# No daemon is started or restarted by a package while the image is made, sshd least of all. 10-one-context.sh, the
# last to install packages, takes it away.
_forbid_starts() {
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 0755 /usr/sbin/policy-rc.d
}

# 10-one-context.sh puts the distribution's own addresses back.
_use_mirror() {
  [[ -n ${BASE_MIRROR} ]] || return 0
  mkdir -p /root/apt-sources
  cp -a /etc/apt/sources.list* /root/apt-sources/
  find /etc/apt/sources.list* -type f -exec \
    sed -i -E "s#https?://[^ ]*(ubuntu\.com|debian\.org)/[a-z-]+/?#${BASE_MIRROR}#" {} +
}

_install() {
  local -a packages
  read -ra packages <<<"${BASE_PACKAGES}"
  "${APT[@]}" update
  "${APT[@]}" full-upgrade
  "${APT[@]}" install "${packages[@]}"
}

# Only what is there: the list names what some images have and others don't. What nothing needs any more stays: with
# the distribution's meta packages gone apt would count most of the system to it.
_purge() {
  local name
  local -a there=()
  for name in ${BASE_PURGE}; do
    if dpkg-query --show --showformat='${db:Status-Abbrev}' "${name}" 2>/dev/null | grep -q '^[ih]'; then
      there+=("${name}")
    fi
  done
  ((${#there[@]} == 0)) || "${APT[@]}" purge "${there[@]}"
}

_choose_units() {
  local unit
  for unit in ${BASE_DISABLE_UNITS}; do
    systemctl --quiet disable "${unit}" 2>/dev/null || true
  done
  for unit in ${BASE_MASK_UNITS}; do
    systemctl --quiet mask "${unit}"
  done
}

# Network cards are eth0, eth1, ... as OpenNebula's contextualization numbers them; nobody waits at a boot menu.
_set_boot_options() {
  mkdir -p /etc/default/grub.d
  cat >/etc/default/grub.d/90-slm-copilot.cfg <<'CFG'
GRUB_TIMEOUT=0
GRUB_RECORDFAIL_TIMEOUT=0
GRUB_CMDLINE_LINUX="${GRUB_CMDLINE_LINUX:-} net.ifnames=0 biosdevname=0"
CFG
  update-grub
  grep -q 'net\.ifnames=0' /boot/grub/grub.cfg
}

# Settings that the base disks which are made here have too.
_copy_settings() {
  local file
  for file in ssh/sshd_config.d/10-slm-copilot.conf systemd/journald.conf.d/10-slm-copilot.conf; do
    install -D -m 0644 "${STAGE}/base-files/etc/${file}" "/etc/${file}"
  done
}

_set_names() {
  echo slm-copilot >/etc/hostname
  printf '127.0.0.1 localhost\n127.0.1.1 slm-copilot\n::1 localhost ip6-localhost ip6-loopback\n' >/etc/hosts
}

# This base is there for these versions: others have to be seen working first.
_check_versions() {
  local pair package wanted have
  for pair in ${BASE_VERSIONS}; do
    package=${pair%%=*} wanted=${pair#*=}
    have=$(dpkg-query --show --showformat='${Version}' "${package}" 2>/dev/null || echo none)
    have=${have#*:}
    if [[ ${have} != "${wanted}" && ${have} != "${wanted}"[!0-9]* ]]; then
      echo "Error: the base stands for ${package} ${wanted}, and its archive has ${have}" >&2
      return 1
    fi
  done
}

_main() {
  umask 0022
  _wait_for_cloud_init
  _stop_upgrades
  _forbid_starts
  _use_mirror
  _install
  _purge
  _choose_units
  _set_boot_options
  _copy_settings
  _set_names
  _check_versions
}

_main
