# shellcheck shell=bash
# The kernel's time since boot in hundredths of a second: the wall clock may be set at any moment.
uptime_cs() {
  local uptime
  read -r uptime _ <"$SLM_PROC/uptime"
  printf '%s\n' "${uptime/./}"
}
