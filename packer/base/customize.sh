#!/bin/bash
# Runs on the host, once, after the packages are installed: $1 is the root of the new system.
# ROOT_LABEL, DISABLE_UNITS, MASK_UNITS and MASK_GENERATORS come from debian-12.yaml through base_disk.py.
set -euo pipefail

root=$1

_write_fstab() {
  printf 'LABEL=%s / ext4 errors=remount-ro 0 1\n' "${ROOT_LABEL}" >"${root}/etc/fstab"
}

_set_names() {
  echo slm-copilot >"${root}/etc/hostname"
  printf '127.0.0.1 localhost\n127.0.1.1 slm-copilot\n::1 localhost ip6-localhost ip6-loopback\n' \
    >"${root}/etc/hosts"
}

# No password opens this image: root is locked, keys come with the context.
_lock_root() {
  chroot "${root}" passwd --quiet --lock root
}

_choose_units() {
  local unit
  for unit in ${DISABLE_UNITS}; do
    chroot "${root}" systemctl --quiet disable "${unit}"
  done
  for unit in ${MASK_UNITS}; do
    chroot "${root}" systemctl --quiet mask "${unit}"
  done
  chroot "${root}" systemctl --quiet enable systemd-networkd.service systemd-networkd-wait-online.service
}

# A link to nowhere of the same name in /etc keeps a generator from being run.
_mask_generators() {
  local generator
  mkdir -p "${root}/etc/systemd/system-generators"
  for generator in ${MASK_GENERATORS}; do
    ln -s /dev/null "${root}/etc/systemd/system-generators/${generator}"
  done
}

# files/ changed how the initial RAM disk is made after the kernel's package had made it.
_remake_initrd() {
  chroot "${root}" update-initramfs -u -k all
}

# What makes one machine different from the next must not be in a disk that many machines start from.
_forget_identity() {
  rm -f "${root}"/etc/ssh/ssh_host_* "${root}/var/lib/dbus/machine-id" "${root}/etc/resolv.conf"
  : >"${root}/etc/machine-id"
  chmod 0444 "${root}/etc/machine-id"
}

_main() {
  _write_fstab
  _set_names
  _lock_root
  _choose_units
  _mask_generators
  _remake_initrd
  _forget_identity
  install -d -m 2755 -g "$(stat -c %g "${root}/var/log/journal" 2>/dev/null || echo 0)" "${root}/var/log/journal"
}

_main
