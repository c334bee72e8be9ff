#!/bin/bash
# Starts a container in namespaces of its own (nspawn.py made them): when this process dies, so do all processes,
# mounts, loop devices and network devices of the container.
#
# nspawn_launch.sh ROOT_DISK OFFSET ro|rw [CGROUP...] -- SYSTEMD_NSPAWN_ARGUMENTS
# The current folder holds upper/ and work/ (kept from boot to boot), lower/ and root/ (mount points). `ro`: the disk
# is shared, changes go to upper/; `rw`: it is this container's own, and its root as it is.
set -euo pipefail

enter_cgroup() {
  # 0 is whoever writes.
  echo 0 >"$1/cgroup.procs"
}

mount_root() {
  local disk=$1 offset=$2 mode=$3 options=$3 type
  if ! type=$(blkid -p -O "$offset" -o value -s TYPE "$disk"); then
    echo "mount: the image holds no file system that can be found"
    return 1
  fi
  if [[ $mode == rw ]]; then
    mount -o "$options,loop,offset=$offset" "$disk" root
    return
  fi
  # After a power cut the journal is dirty; replaying it would need a writable disk.
  if [[ $type == ext[34] ]]; then
    options+=,noload
  fi
  mount -o "$options,loop,offset=$offset" "$disk" lower
  # Relative paths: a ':' in an absolute one would separate two lower layers.
  mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work root
}

hide_nspawn_state() {
  # Where systemd-nspawn keeps what it forgets to remove when it is killed.
  mkdir -p /run/systemd/nspawn
  mount -t tmpfs -o mode=755 tmpfs /run/systemd/nspawn
}

main() {
  local disk=$1 offset=$2 mode=$3
  shift 3
  while [[ $1 != -- ]]; do
    enter_cgroup "$1"
    shift
  done
  shift
  # The harness writes a line as soon as eth0 is there.
  read -r _
  mount_root "$disk" "$offset" "$mode"
  hide_nspawn_state
  exec systemd-nspawn "$@" </dev/null
}

main "$@"
