# shellcheck shell=bash
# systemd, also where an image is being built in a chroot and no systemd runs.

enable_unit() {
  is_wanted "$1" || systemctl enable --quiet "$1"
}

# is_wanted UNIT   some target starts it: the link that `systemctl enable` makes, looked at without asking systemd.
is_wanted() {
  local link
  for link in "$SLM_ROOT"/etc/systemd/system/*.wants/"$1"; do
    [[ ! -L $link ]] || return 0
  done
  return 1
}

reload_units() {
  [[ ! -d $SLM_ROOT/run/systemd/system ]] || systemctl daemon-reload
}

# install_unit_file SOURCE TARGET
install_unit_file() {
  make_folder 0755 root:root "${2%/*}" && write_if_changed 0644 root:root "$2" <"$1"
}

# /run/slm-copilot, now and after every boot.
install_runtime_folder() {
  install_unit_file "$SLM_APPLIANCE_DIR/templates/tmpfiles.conf" "$SLM_ROOT/usr/lib/tmpfiles.d/slm-copilot.conf" &&
    make_folder 0755 root:root "$SLM_RUN_DIR" && reload_units
}
