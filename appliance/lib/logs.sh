# shellcheck shell=bash
# Logs may not fill the disk: engine and nginx log into the journal only, and the journal has a limit.

# Its name sorts after the distribution's own settings and the base disk's, so it decides.
install_log_limits() {
  install_unit_file "$SLM_APPLIANCE_DIR/templates/journald.conf" "$SLM_ROOT/etc/systemd/journald.conf.d/50-slm-copilot.conf"
}
