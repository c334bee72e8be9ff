#!/bin/bash
# Last of all: removes what makes this machine different from the next one that starts from the image, what let
# the build log in, and what only the build needed.
set -euo pipefail

# Whatever runs would write its logs and state again.
_stop_services() {
  systemctl stop nginx.service slm-engine.service logrotate.timer fstrim.timer rsyslog.service 2>/dev/null || true
  # It writes the seed again when it stops.
  systemctl stop systemd-random-seed.service
  journalctl --relinquish-var
}

_forget_login() {
  rm -rf /root/.ssh /root/.bash_history /root/.cache /root/.lesshst /root/.viminfo
  rm -f /etc/ssh/ssh_host_*
  # A password nobody knows is still one: the account is locked.
  passwd --quiet --lock root
}

_forget_build_network() {
  rm -f /etc/systemd/network/90-build.network /etc/systemd/system/ssh.service.d/90-build.conf
  rm -rf /var/lib/systemd/network
  # A link is the distribution's own way to its resolver, a file is what this network said.
  [[ -L /etc/resolv.conf ]] || rm -f /etc/resolv.conf
  # Whatever cloud-init or NetworkManager wrote about this machine's network card (50-cloud-init.yaml, 90-NM-*.yaml)
  # would compete with what the context says of the next one's.
  find /etc/netplan /etc/NetworkManager/system-connections -mindepth 1 -delete 2>/dev/null || true
}

# What a cloud image was told by its seed, and what it did about it.
_forget_cloud_init() {
  rm -rf /var/lib/cloud /run/cloud-init /etc/cloud /etc/sudoers.d/90-cloud-init-users
  rm -f /etc/ssh/sshd_config.d/*cloud* /etc/sysctl.d/99-cloudimg-ipv6.conf
}

_forget_identity() {
  rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
  rm -rf /var/lib/systemd/timers /var/lib/systemd/linger
  : >/etc/machine-id
  chmod 0444 /etc/machine-id
}

_forget_packages_lists() {
  rm -rf /var/lib/apt/lists /var/cache/apt /var/cache/debconf/*-old /var/lib/dpkg/*-old
  install -d -m 0755 /var/lib/apt/lists /var/cache/apt/archives
}

_forget_logs() {
  find /var/log -type f -delete
  find /var/log/journal -mindepth 1 -delete
  find /tmp /var/tmp -mindepth 1 -delete
}

# Units that run once after /usr changed (new system users, for one) have run here.
_mark_as_updated() {
  touch /etc/.updated /var/.updated
}

# What is in the image, for its bill of materials; the template takes a copy.
_list_packages() {
  dpkg-query --show --showformat='${Package} ${Version}\n' >/opt/slm-copilot/packages.txt
  chmod 0644 /opt/slm-copilot/packages.txt
}

# Accounts that a password opens.
_accounts_with_password() {
  awk -F: '$2 !~ /^[!*]/ { print "password of " $1 }' /etc/shadow
}

# The only place that knows the stages ran here is the status the next stage asks for.
_check() {
  local left
  [[ $(</etc/one-appliance/status) == install_success ]]
  left=$(
    find /etc/ssh /root /home /var/lib/apt/lists /var/log \
      \( -name 'ssh_host_*' -o -name authorized_keys -o -name '*_Packages' -o -name '*.log' \) -print
    find /etc/netplan /etc/NetworkManager/system-connections -mindepth 1 -print 2>/dev/null || true
    find /var/lib/cloud /usr/sbin/policy-rc.d /root/apt-sources -maxdepth 0 -print 2>/dev/null || true
    find /etc/machine-id -size +0 -print
    _accounts_with_password
  )
  if [[ -n ${left} ]]; then
    echo "sealing left behind: ${left//$'\n'/, }" >&2
    return 1
  fi
}

_main() {
  _stop_services
  _forget_login
  _forget_build_network
  _forget_cloud_init
  _forget_identity
  _forget_packages_lists
  _forget_logs
  _mark_as_updated
  _list_packages
  _check
  sync
  # Blocks that were freed take no room in the image.
  fstrim /
}

_main
