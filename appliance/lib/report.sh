# shellcheck shell=bash
# What people see of the outcome: the report file (root only), the console, the MOTD.

# Where clients go: the address, which our own certificate names; the domain, where a certificate of another maker names
# that and perhaps nothing else.
public_endpoint() {
  local host
  host=$(primary_url_host) || return
  if [[ -n ${SLM_VALUE[domain]} ]] && ! serves_selfsigned_pair; then
    host=${SLM_VALUE[domain],,}
  fi
  printf 'https://%s/v1\n' "$host"
}

write_report() {
  local report
  report=$(render_report) || fail "the report could not be put together" || return
  write_text_if_changed 0600 root:root "$SLM_REPORT" "$report"$'\n'
}

# write_failure_report STAGE REASON   the reason stands where people look first; what a previous good configuration
# wrote stays below it, for that is what still serves.
write_failure_report() {
  local status previous
  status=$(render_status "$1_failure" "$2") || return
  previous=$(report_without_status) || return
  printf '%s\n%s' "$status" "${previous:+$'\n'$previous$'\n'}" | write_if_changed 0600 root:root "$SLM_REPORT"
}

# render_status STATE [REASON]   STATE is a word of the status file. The time is when this state was first reached, so
# that a boot which changes nothing leaves the report as it is.
render_status() {
  local state=$1 reason=${2:-} time
  time=$(status_time "$state" "$reason") || return
  printf '[status]\nstate=%s\n' "$state"
  [[ -z $reason ]] || printf 'reason=%s\n' "$reason"
  printf 'time=%s\n' "${time:-$(utc_time -1)}"
}

# status_time STATE REASON   the time in the present report if that tells of the same; else nothing.
status_time() {
  [[ -f $SLM_REPORT ]] || return 0
  SLM_STATE=$1 SLM_REASON=$2 awk '
    /^\[/ { here = $0 == "[status]"; next }
    here && /^state=/ { state = substr($0, 7) }
    here && /^reason=/ { reason = substr($0, 8) }
    here && /^time=[0-9TZ:-]+$/ { time = substr($0, 6) }
    END { if (state == ENVIRON["SLM_STATE"] && reason == ENVIRON["SLM_REASON"]) print time }' "$SLM_REPORT"
}

report_without_status() {
  [[ -f $SLM_REPORT ]] || return 0
  awk '/^\[/ { keep = $0 != "[status]" } keep' "$SLM_REPORT"
}

render_report() {
  local certificate
  certificate=$(render_certificate_section) || return
  render_status bootstrap_success || return
  cat <<INI

[connection]
endpoint=$(public_endpoint)
username=$SLM_ADMIN_USER
password=$SLM_PASSWORD
model=$SLM_MODEL_ID$(report_second_model)

$certificate

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

render_certificate_section() {
  read_certificate "$SLM_TLS_CERT" || return
  cat <<INI
[certificate]
mode=${SLM_VALUE[tls_mode]}
status=$(certificate_status)
file=$SLM_TLS_CERT
fingerprint_sha256=$CERT_FINGERPRINT
expires=$(utc_time "$CERT_END")
names=${CERT_NAMES//$'\n'/,}
INI
}

# utc_time SECONDS   since 1970
utc_time() {
  TZ=UTC0 printf '%(%Y-%m-%dT%H:%M:%SZ)T\n' "$1"
}

announce_ready() {
  local endpoint
  endpoint=$(public_endpoint)
  [[ ! -e $SLM_MOTD_FAILURE ]] || rm -f "$SLM_MOTD_FAILURE"
  # service.sh writes the MOTD anew with every status; what follows is added to its success text
  {
    printf ' SLM-Copilot %s, flavor %s\n' "$SLM_VERSION" "$SLM_FLAVOR"
    printf ' API       %s\n' "$endpoint"
    printf ' Model     %s\n' "$SLM_MODEL_ID${SLM_VALUE[second_model]:+ ${SLM_VALUE[second_model]}}"
    printf ' Password  grep ^password %s\n' "$SLM_REPORT"
    ! serves_selfsigned_pair || printf ' CA file   %s\n' "$SLM_TLS_CERT"
    printf '\n'
  } >>"$SLM_MOTD" && chmod 0644 "$SLM_MOTD"
  print_on_console "slm-copilot: ready $endpoint"
}

announce_failure() {
  local stage=$1 reason
  reason=$(one_line "$2")
  # service.sh writes the MOTD after us, so the reason has a file of its own, which pam_motd shows below it
  if make_folder 0755 root:root "${SLM_MOTD_FAILURE%/*}"; then
    printf ' SLM-Copilot: %s failed: %s\n\n' "$stage" "$reason" | write_atomically 0644 root:root "$SLM_MOTD_FAILURE" || true
  fi
  write_failure_report "$stage" "$reason" || true
  print_on_console "slm-copilot: failed $stage: $reason"
}

# The console is for people and for machines watching the serial line; a guest without one is fine.
print_on_console() {
  [[ -w $SLM_CONSOLE ]] || return 0
  { printf "%s\n" "$1" >>"$SLM_CONSOLE"; } 2>/dev/null || true
}
