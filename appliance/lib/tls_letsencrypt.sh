# shellcheck shell=bash disable=SC2034 # certificate_keeper.sh reads SLM_RENEWAL_HOOK
# TLS mode letsencrypt: a certificate from an ACME server (Let's Encrypt unless told otherwise), asked for by certbot
# once nginx serves. Until there is one, and whenever it can't be had, the self-signed pair is served.

SLM_RENEWAL_HOOK=$SLM_LETSENCRYPT_DIR/renewal-hooks/deploy/slm-copilot

tls_letsencrypt_check() {
  local text
  [[ -n ${SLM_VALUE[domain]} ]] ||
    fail "ONEAPP_SLM_DOMAIN: TLS mode letsencrypt needs it; accepted: ${SLM_PARAM_ACCEPTED[ONEAPP_SLM_DOMAIN]}" || return
  command -v certbot >/dev/null ||
    fail "ONEAPP_SLM_TLS_MODE: letsencrypt needs certbot, which is not in this image; accepted here: selfsigned, custom" || return
  [[ -n ${SLM_VALUE[acme_ca]} ]] || return 0
  text=$(acme_ca_text)
  if [[ $text == *'PRIVATE KEY'* ]] || ! openssl x509 -noout <<<"$text" 2>/dev/null; then
    fail "ONEAPP_SLM_ACME_CA: the value doesn't begin with a certificate or holds a private key; accepted: ${SLM_PARAM_ACCEPTED[ONEAPP_SLM_ACME_CA]}"
  fi
}

# The best pair there is without asking anybody.
tls_letsencrypt_configure() {
  install_acme_ca || return
  serve_best_pair
}

# tls_letsencrypt_leave   nothing may renew any more. The account stays: who comes back needs no second one.
tls_letsencrypt_leave() {
  remove_lineage
  # certbot explains the folder that is empty now
  rm -f "$SLM_ACME_CA_FILE" "$SLM_CERTIFICATE_STATE" "$SLM_LETSENCRYPT_DIR/live/README"
}

serve_best_pair() {
  local domain=${SLM_VALUE[domain],,} directory=${SLM_VALUE[acme_directory]} now
  now=$(date +%s)
  find_lineage_problem "$domain" "$directory"
  if [[ -z $LINEAGE_PROBLEM ]] && ((CERT_END > now)); then
    serve_lineage "$domain" "$directory"
  elif acme_pair_is_good "$domain" "$directory" "$now"; then
    keep_pair
  else
    serve_selfsigned_pair
  fi
}

# acme_pair_is_good DOMAIN DIRECTORY NOW   one that was installed earlier for just these, and hasn't ended.
acme_pair_is_good() {
  [[ $(current_origin) == letsencrypt && $(cat "$SLM_TLS_DIR/current/acme" 2>/dev/null || true) == "$1 $2" ]] || return
  check_pair
  [[ -z $PAIR_PROBLEM ]] && ((CERT_END > $3))
}

# serve_lineage DOMAIN DIRECTORY   has `current` hold the lineage's pair; find_lineage_problem has judged it.
serve_lineage() {
  local live=$SLM_LETSENCRYPT_DIR/live/$SLM_LINEAGE folder
  if [[ $(current_origin) == letsencrypt && -s $SLM_TLS_DIR/current/acme ]] &&
    cmp -s "$live/fullchain.pem" "$SLM_TLS_DIR/current/cert.pem" &&
    cmp -s "$live/privkey.pem" "$SLM_TLS_DIR/current/key.pem"; then
    keep_pair
    return
  fi
  msg info "serving the certificate for $1 of $2"
  folder=$(new_pair_folder letsencrypt) &&
    (umask 0077 && cat "$live/privkey.pem" >"$folder/key.pem") &&
    cat "$live/fullchain.pem" >"$folder/cert.pem" &&
    printf '%s %s\n' "$1" "$2" >"$folder/acme" && give 0644 root:root "$folder/acme" && sync "$folder/acme" &&
    switch_to_pair "$folder"
}

# The CA lies where only root writes; python's requests reads it.
install_acme_ca() {
  if [[ -z ${SLM_VALUE[acme_ca]} ]]; then
    rm -f "$SLM_ACME_CA_FILE"
    return
  fi
  make_folder 0755 root:root "$SLM_CONFIG_DIR" && acme_ca_text | write_if_changed 0600 root:root "$SLM_ACME_CA_FILE"
}

acme_ca_text() {
  printf '%s' "${SLM_VALUE[acme_ca]}" | base64 -d
}

# What a remembered failure is about: with another domain, server or CA everything may be different.
acme_request() {
  { printf '%s %s\n' "${SLM_VALUE[domain],,}" "${SLM_VALUE[acme_directory]}" && cat "$SLM_ACME_CA_FILE" 2>/dev/null || true; } |
    sha256sum | cut -d ' ' -f 1
}
