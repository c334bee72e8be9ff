# shellcheck shell=bash
# What people see of the outcome: the report file (root only), the console, the MOTD.

public_endpoint() {
  printf 'https://%s/v1\n' "$(primary_url_host)"
}

write_report() {
  local report
  report=$(render_report) || fail "the report could not be put together" || return
  printf '%s\n' "$report" | write_atomically 0600 root:root "$SLM_REPORT"
}

render_report() {
  read_certificate "$SLM_TLS_CERT" || return
  cat <<INI
[connection]
endpoint=$(public_endpoint)
username=$SLM_ADMIN_USER
password=$SLM_PASSWORD
model=$SLM_MODEL_ID

[certificate]
mode=${SLM_VALUE[tls_mode]}
file=$SLM_TLS_CERT
fingerprint_sha256=$CERT_FINGERPRINT
expires=$(date -u -d "@$CERT_END" +%Y-%m-%dT%H:%M:%SZ)
names=${CERT_NAMES//$'\n'/,}

[engine]
name=$SLM_ENGINE
version=$SLM_ENGINE_VERSION
threads=$SLM_THREADS
context_size=${SLM_VALUE[context_size]}
temperature=${SLM_VALUE[temperature]}
cpu_variant=$(engine_cpu_variant)

[appliance]
flavor=$SLM_FLAVOR
version=$SLM_VERSION
INI
}

announce_ready() {
  local endpoint
  endpoint=$(public_endpoint)
  rm -f "$SLM_MOTD_FAILURE"
  # service.sh writes the MOTD anew with every status; what follows is added to its success text
  {
    printf ' SLM-Copilot %s, flavor %s\n' "$SLM_VERSION" "$SLM_FLAVOR"
    printf ' API       %s\n' "$endpoint"
    printf ' Model     %s\n' "$SLM_MODEL_ID"
    printf ' Password  grep ^password %s\n' "$SLM_REPORT"
    printf ' CA file   %s\n\n' "$SLM_TLS_CERT"
  } >>"$SLM_MOTD" && chmod 0644 "$SLM_MOTD"
  print_on_console "slm-copilot: ready $endpoint"
}

announce_failure() {
  local stage=$1 reason
  reason=$(one_line "$2")
  add_failure_to_report "$stage" "$reason" || true
  # service.sh writes the MOTD after us, so the reason has a file of its own, which pam_motd shows below it
  if make_folder 0755 root:root "${SLM_MOTD_FAILURE%/*}"; then
    printf ' SLM-Copilot: %s failed: %s\n\n' "$stage" "$reason" | write_atomically 0644 root:root "$SLM_MOTD_FAILURE" || true
  fi
  print_on_console "slm-copilot: failed $stage: $reason"
}

# Puts the failure on top of what the report says of the system that keeps serving; the next good one replaces it all.
add_failure_to_report() {
  local stage=$1 reason=$2 kept=''
  if [[ -s $SLM_REPORT ]]; then
    kept=$(awk '/^\[/ { dropped = ($0 == "[failure]") } !dropped' "$SLM_REPORT") || return
  fi
  printf '[failure]\nstage=%s\nreason=%s\n%s' "$stage" "$reason" "${kept:+$'\n'$kept$'\n'}" |
    write_atomically 0600 root:root "$SLM_REPORT"
}

# The console is for people and for machines watching the serial line; a guest without one is fine.
print_on_console() {
  [[ -w $SLM_CONSOLE ]] || return 0
  { printf "%s\n" "$1" >>"$SLM_CONSOLE"; } 2>/dev/null || true
}
