# shellcheck shell=bash
# systemd, also where an image is being built in a chroot and no systemd runs.

enable_unit() {
  systemctl is-enabled --quiet "$1" 2>/dev/null || systemctl enable --quiet "$1"
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
