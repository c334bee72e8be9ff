# shellcheck shell=bash
# Keeps the certificate good between two configure stages, in every TLS mode: bin/certificate-keeper, which
# slm-certificate.timer runs. It works with the settings of the last configure stage that succeeded.

SLM_KEEPER_SERVICE=slm-certificate.service
SLM_KEEPER_TIMER=slm-certificate.timer

# ---- the appliance's steps ------------------------------------------------------------------------------------------

install_certificate_keeper() {
  local unit
  give 0755 root:root "$SLM_APPLIANCE_DIR/bin/certificate-keeper" || return
  for unit in "$SLM_KEEPER_SERVICE" "$SLM_KEEPER_TIMER"; do
    install_unit_file "$SLM_APPLIANCE_DIR/templates/$unit" "$SLM_ROOT/etc/systemd/system/$unit" || return
  done
  install_renewal_hook && reload_units && enable_unit "$SLM_KEEPER_TIMER"
}

# certbot runs it after every renewal, whoever started the renewal.
install_renewal_hook() {
  make_folder 0755 root:root "${SLM_RENEWAL_HOOK%/*}" && write_if_changed 0755 root:root "$SLM_RENEWAL_HOOK" <<HOOK
#!/bin/sh
# Has nginx serve what certbot has just renewed.
exec $SLM_APPLIANCE_DIR/bin/certificate-keeper deploy
HOOK
}

# hold_certificate_keeper   until this process ends no keeper changes certificates; one that is asking an ACME server
# right now is stopped, which costs no more than that one request.
hold_certificate_keeper() {
  lock_certificates 1 && return
  systemctl stop "$SLM_KEEPER_SERVICE" || true
  lock_certificates 150 || fail "the certificate keeper doesn't end, see journalctl -u $SLM_KEEPER_SERVICE"
}

# lock_certificates SECONDS   waits that long; the kernel lets go of the lock when the process ends. Nothing to do
# where this process, or the one that started it, has the lock.
lock_certificates() {
  local descriptor
  [[ ${SLM_HOLDS_CERTIFICATE_LOCK:-} != true ]] || return 0
  make_folder 0755 root:root "${SLM_CERTIFICATE_LOCK%/*}" && exec {descriptor}>"$SLM_CERTIFICATE_LOCK" &&
    flock --exclusive --timeout "$1" "$descriptor" && SLM_HOLDS_CERTIFICATE_LOCK=true
}

# What the keeper needs of the judged parameters: those that are no secret and no file.
write_certificate_settings() {
  local name settings=''
  [[ ! -e $SLM_MOTD_CERTIFICATE ]] || rm -f "$SLM_MOTD_CERTIFICATE"
  for name in "${SLM_PARAM_NAMES[@]}"; do
    if [[ ${SLM_PARAM_SECRET[$name]} != true && ${SLM_PARAM_TYPE[$name]} != base64_pem ]]; then
      settings+="${SLM_PARAM_LABEL[$name]}=${SLM_VALUE[${SLM_PARAM_LABEL[$name]}]}"$'\n'
    fi
  done
  write_text_if_changed 0600 root:root "$SLM_CERTIFICATE_SETTINGS" "$settings"
}

# obtain_certificate   once nginx serves. A failure is no failure of the stage: the self-signed certificate serves.
obtain_certificate() {
  [[ ${SLM_VALUE[tls_mode]} == letsencrypt ]] || return 0
  SLM_HOLDS_CERTIFICATE_LOCK=true "$SLM_APPLIANCE_DIR/bin/certificate-keeper" boot ||
    msg warning "the certificate keeper failed, it is tried again by $SLM_KEEPER_TIMER"
}

start_certificate_keeper() {
  enable_unit "$SLM_KEEPER_TIMER"
  systemctl start "$SLM_KEEPER_TIMER" ||
    fail "$SLM_KEEPER_TIMER did not start: the certificate would end unnoticed"
}

# ---- the keeper -----------------------------------------------------------------------------------------------------

# keep_certificate WISH   WISH: keep (what is due), boot (the same, and the console is told), now (tries whatever was
# due when), renew (a new certificate even though the present one is good), deploy (serve what certbot has renewed).
keep_certificate() {
  local wish=$1 origin_before
  [[ -s $SLM_CERTIFICATE_SETTINGS ]] || {
    msg info "no configure stage has succeeded yet, there is no certificate to keep"
    return
  }
  load_flavor && read_certificate_settings && resolve_addresses || return
  origin_before=$(current_origin)
  "keep_${SLM_VALUE[tls_mode]}_certificate" "$wish" || return
  serve_new_pair || return
  refresh_certificate_report || return
  tell_about_certificate "$wish" "$origin_before"
}

read_certificate_settings() {
  local label value
  while IFS='=' read -r label value; do
    # shellcheck disable=SC2004 # the array is associative
    SLM_VALUE[$label]=$value
  done <"$SLM_CERTIFICATE_SETTINGS"
  read -r _ SLM_PASSWORD <"$SLM_PASSWORD_FILE" || [[ -n $SLM_PASSWORD ]] ||
    fail "$SLM_PASSWORD_FILE is empty: run the configure stage again"
}

keep_selfsigned_certificate() {
  only_letsencrypt_asks "$1" && serve_selfsigned_pair
}

# Its owner renews it; we only say in time that it is due.
keep_custom_certificate() {
  only_letsencrypt_asks "$1"
}

only_letsencrypt_asks() {
  case "$1" in
    now | renew) fail "TLS mode ${SLM_VALUE[tls_mode]} asks nobody for a certificate" ;;
    deploy) msg info "TLS mode ${SLM_VALUE[tls_mode]} doesn't serve what certbot renews" ;;
  esac
}

keep_letsencrypt_certificate() {
  local wish=$1 domain=${SLM_VALUE[domain],,} directory=${SLM_VALUE[acme_directory]} request
  request=$(acme_request) && read_acme_state "$request" && serve_best_pair || return
  [[ $wish != deploy ]] || return 0
  find_lineage_problem "$domain" "$directory"
  if [[ -z $LINEAGE_PROBLEM && $wish != renew ]] && ! renewal_is_due; then
    remember_acme_success "$request"
  elif [[ $wish == keep || $wish == boot ]] && ! acme_try_is_due; then
    msg info "the last try failed ($ACME_REASON), the next one is due $(utc_time "$ACME_NEXT_TRY")"
  elif try_acme "$domain" "$directory"; then
    remember_acme_success "$request"
  else
    remember_acme_failure "$request" "$CERTBOT_REASON" || return
    msg warning "no certificate from $directory: $ACME_REASON; next try $(utc_time "$ACME_NEXT_TRY")"
  fi
}

# try_acme DOMAIN DIRECTORY   asks once. The reason of a failure is in CERTBOT_REASON.
try_acme() {
  local domain=$1 directory=$2
  if [[ -z $LINEAGE_PROBLEM ]]; then
    msg info "renewing the certificate for $domain at $directory"
    if renew_certificate "$directory"; then
      # The hook has installed it; whoever renews by hand has nothing but the hook either.
      CERTBOT_REASON="the renewed certificate was not taken over by $SLM_RENEWAL_HOOK"
      cmp -s "$SLM_LETSENCRYPT_DIR/live/$SLM_LINEAGE/fullchain.pem" "$SLM_TLS_DIR/current/cert.pem"
      return
    fi
    server_forgot_account || return
    LINEAGE_PROBLEM="the server doesn't know the account any more"
  fi
  msg info "asking $directory for a certificate for $domain: $LINEAGE_PROBLEM"
  issue_lineage "$domain" "$directory"
}

issue_lineage() {
  remove_lineage
  if ! ask_for_certificate "$1" "$2"; then
    server_forgot_account && remove_accounts "$2" && ask_for_certificate "$1" "$2" || return
  fi
  find_lineage_problem "$1" "$2"
  CERTBOT_REASON=$LINEAGE_PROBLEM
  [[ -z $LINEAGE_PROBLEM ]] && serve_lineage "$1" "$2"
}

# A private CA that was set up anew has forgotten whom it knew.
server_forgot_account() {
  [[ $CERTBOT_ERROR == accountDoesNotExist ]]
}

# renewal_is_due   less than a third of its life is left, whatever its life is; after find_lineage_problem.
renewal_is_due() {
  local now
  now=$(date +%s)
  ((CERT_END - now < (CERT_END - CERT_START) / 3))
}

# nginx takes the new pair over; answers that are under way are finished by its old workers.
serve_new_pair() {
  is_pending nginx || return 0
  configure_proxy && start_proxy
}

# ---- what people see ------------------------------------------------------------------------------------------------

# certificate_status   in one line, for the report.
certificate_status() {
  local mode=${SLM_VALUE[tls_mode]}
  if [[ $mode != letsencrypt ]]; then
    printf '%s\n' "$mode"
    return
  fi
  read_acme_state "$(acme_request)"
  if [[ $(current_origin) != letsencrypt ]]; then
    printf 'fallback: %s; next try %s\n' "${ACME_REASON:-not asked yet}" "$(utc_time "$ACME_NEXT_TRY")"
  elif ((ACME_FAILURES > 0)); then
    printf 'issued; a new one could not be had: %s; next try %s\n' "$ACME_REASON" "$(utc_time "$ACME_NEXT_TRY")"
  else
    printf 'issued\n'
  fi
}

# What depends on the certificate; the report keeps everything else as the bootstrap stage wrote it.
refresh_certificate_report() {
  local section endpoint
  [[ -s $SLM_REPORT ]] && grep -q '^\[certificate\]$' "$SLM_REPORT" || return 0
  section=$(render_certificate_section) && endpoint=$(public_endpoint) || return
  SECTION=$section ENDPOINT=$endpoint awk '
    /^\[/ { inside = ($0 == "[certificate]"); if (inside) print ENVIRON["SECTION"] "\n" }
    /^endpoint=/ { $0 = "endpoint=" ENVIRON["ENDPOINT"] }
    !inside' "$SLM_REPORT" | write_if_changed 0600 root:root "$SLM_REPORT"
}

# tell_about_certificate WISH ORIGIN_BEFORE
tell_about_certificate() {
  local status notice=''
  status=$(certificate_status) || return
  case "$status" in
    fallback:*)
      notice="self-signed, $status"
      [[ $1 == keep && $2 == selfsigned ]] || print_on_console "slm-copilot: certificate $(one_line "$status")"
      ;;
    'issued;'*) notice=$status ;;
    issued) [[ $2 == letsencrypt ]] || print_on_console "slm-copilot: certificate issued for ${SLM_VALUE[domain],,}" ;;
    custom) notice=$(custom_certificate_notice) ;;
  esac
  show_certificate_notice "$notice"
}

custom_certificate_notice() {
  local now
  now=$(date +%s)
  read_certificate "$SLM_TLS_CERT" || return 0
  if ((CERT_END <= now)); then
    printf 'the one of ONEAPP_SLM_TLS_CERT ended on %s; give a new one' "$(utc_time "$CERT_END")"
  elif ((CERT_END - now < SLM_CUSTOM_WARN_DAYS * 86400)); then
    printf 'the one of ONEAPP_SLM_TLS_CERT ends on %s; give a new one in time' "$(utc_time "$CERT_END")"
  fi
}

# Whoever logs in reads it; the journal has it once.
show_certificate_notice() {
  local notice=$1
  if [[ -z $notice ]]; then
    rm -f "$SLM_MOTD_CERTIFICATE"
    return
  fi
  make_folder 0755 root:root "${SLM_MOTD_CERTIFICATE%/*}" || return
  printf ' SLM-Copilot certificate: %s\n\n' "$(one_line "$notice")" | write_if_changed 0644 root:root "$SLM_MOTD_CERTIFICATE" || return
  [[ $WRITE_CHANGED != true ]] || msg warning "certificate: $notice"
}
